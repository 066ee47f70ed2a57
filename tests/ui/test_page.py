"""Tables take their wide layout where that fits, folded where its text may be, and else the narrow one."""

import pytest

from cnnzoo.ui.page import Page

WIDE = (
    ["~Run", "~What it is", ">Accuracy", ">~Interval"],
    [("sweeps/lenet.features-lr=1e-4", "a net of 1998", "89.25%", "88.00% to 90.50%")],
)
NARROW = (["Run\n accuracy"], [("lenet\n 89.25%",)])


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (76, ["sweeps/lenet.features-lr=1e-4  a net of 1998    89.25%  88.00% to 90.50%"]),
        (
            50,
            [
                "sweeps/    a net of    89.25%  88.00% to",
                " lenet.     1998                   90.50%",
                " features-",
                " lr=1e-4",
            ],
        ),
        (30, ["lenet", " 89.25%"]),
    ],
)
def test_a_table_is_folded_and_then_narrow(
    columns: int, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert Page().table(WIDE, NARROW) == (columns > 30)
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    rule = next(index for index, line in enumerate(printed) if set(line) == {"─"})
    assert max(map(len, printed)) <= columns
    assert [line.split() for line in printed[rule + 1 :]] == [line.split() for line in lines]
