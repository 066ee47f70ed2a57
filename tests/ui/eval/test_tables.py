"""What `cnnzoo eval` prints, on wide and narrow screens."""

from pathlib import Path

import pytest

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.ui.eval.tables import print_evaluation
from tests.helpers import quick, train


def test_a_narrow_table_has_whole_names_with_their_images_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(train(quick(tmp_path, epochs=1, limit_train=64)).run / "best.pt", save=False)

    def printed(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        print_evaluation(result)
        return capsys.readouterr().out.splitlines()

    wide, narrow = printed(80), printed(40)
    assert max(len(line) for line in narrow if line.endswith("%")) <= 40
    for row in result.classes:
        (shown,) = (line for line in wide if line.startswith(f"{row.name} ") and line.endswith("  100"))
        *shares, images = shown.removeprefix(row.name).split()
        place = next(i for i, line in enumerate(narrow) if line.startswith(f"{row.name} ") and "%" in line)
        assert narrow[place].removeprefix(row.name).split() == shares
        assert narrow[place + 1].strip() == f"{images} images"
