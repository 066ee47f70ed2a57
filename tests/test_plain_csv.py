"""CSV files in every encoding and with every delimiter that spreadsheets give them."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cnnzoo.errors import CnnzooError
from cnnzoo.plain_csv import Table, read_table


def read(path: Path, content: bytes | str) -> Table:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def cells(table: Table) -> list[list[str]]:
    return [table.header, *(row.cells for row in table.rows)]


LETTERS = st.text(st.characters(codec="utf-8", categories=["Ll", "Lu", "Lo"]), min_size=1, max_size=6)
CELLS = st.one_of(LETTERS, st.sampled_from(["0.5", "0,5", "95 %", 'say "so"', "a;b", "a,b", "-"]))


@given(
    header=st.lists(LETTERS, min_size=2, max_size=5),
    rows=st.lists(st.lists(CELLS, min_size=5, max_size=5), max_size=5),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    trailing=st.integers(0, 2),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    named=st.booleans(),
)
@example(["中文", "é"], [["1"] * 5], "utf-16", "\t", "\r\n", 1, csv.QUOTE_MINIMAL, True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_what_was_written_is_read_whatever_the_encoding_delimiter_and_line_ends(
    tmp_path: Path,
    header: list[str],
    rows: list[list[str]],
    encoding: str,
    delimiter: str,
    end: str,
    trailing: int,
    quoting: int,
    named: bool,
) -> None:
    table = [header, *(row[: len(header)] for row in rows)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(  # type: ignore[arg-type]
        [*row, *[""] * trailing] for row in table
    )
    first = f"sep={delimiter}{end}" if named else ""
    read_back = read(tmp_path / "a.csv", f"{first}{text.getvalue()}".encode(encoding))
    assert cells(read_back) == table
    assert read_back.notes == ()


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        ("名字,标签\n图片,猫\n", "gbk", "it is not UTF-8, and read as GB18030"),
        ("fichier;catégorie\nété.png;été\n", "latin-1", "it is not UTF-8, and read as Windows-1252"),
        ("datei,größe\na.png,3 €\n", "cp1252", "it is not UTF-8, and read as Windows-1252"),
        ("file,label\na.png,cat\n", "utf-16-le", "it has no byte order mark, and is read as UTF-16"),
        ("file,label\na.png,cat\n", "utf-16-be", "it has no byte order mark, and is read as UTF-16"),
    ],
)
def test_an_encoding_that_the_file_does_not_tell_is_recognised_and_said(
    tmp_path: Path, text: str, encoding: str, told: str
) -> None:
    table = read(tmp_path / "a.csv", text.encode(encoding))
    assert cells(table) == [line.split(table.delimiter) for line in text.splitlines()]
    assert table.notes == (told,)
    assert table.is_guessed


def test_blanks_around_cells_and_empty_rows_say_nothing(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "\ufeff\n a ,\xa0b\u200b,,\n\n1 ,\t2,,\n,,,\n3,4\n\x1a")
    assert cells(table) == [["a", "b"], ["1", "2"], ["3", "4"]]
    assert [row.line for row in table.rows] == [4, 6]


def test_titles_above_the_headings_are_passed_over_and_that_is_said(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "My photographs;;\n\nfile;label;\na.png;cat;\n")
    assert cells(table) == [["file", "label"], ["a.png", "cat"]]
    assert table.notes == ("what stands above the headings in line 3 is passed over",)


def test_a_quoted_cell_may_have_lines(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", 'a,"b\nc"\r\n1,"2\n3"\r\n4,5\r\n')
    assert cells(table) == [["a", "b\nc"], ["1", "2\n3"], ["4", "5"]]
    assert [row.line for row in table.rows] == [4, 5]


def test_an_index_without_a_name_is_no_title(tmp_path: Path) -> None:
    assert cells(read(tmp_path / "a.csv", ",label\n0,cat\nx,dog\n")) == [
        ["", "label"],
        ["0", "cat"],
        ["x", "dog"],
    ]


def test_lines_that_a_spreadsheet_took_for_one_cell_each_are_parted(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", '"file,""the label"""\n"a.png,cat"\n"b.png,dog"\n')
    assert cells(table) == [["file", "the label"], ["a.png", "cat"], ["b.png", "dog"]]


def test_rows_that_excel_left_short_end_in_empty_cells(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "a,b,c\n1,2,3\n4,5\n6\n7,8,9\n")
    assert cells(table)[2:] == [["4", "5", ""], ["6", "", ""], ["7", "8", "9"]]
    assert table.notes == ("rows with fewer fields than headings, such as line 3, end in empty ones",)


@pytest.mark.parametrize("text", ["a,b\n1,x\n2,é", 'a,b\n1,"x"\n2,"y', "a,b\n1,x\n2\n", "a,b\n1,0.55\n2,0."])
def test_a_last_row_that_was_cut_off_is_told(tmp_path: Path, text: str) -> None:
    content = text.encode()[:-1] if text.endswith("é") else text.encode()
    assert read(tmp_path / "a.csv", content).is_cut_off


@pytest.mark.parametrize(
    "text", ["a,b\n1,x\n2,y", 'a,b\n1,"x"\n2,"y"\n', "a,b\n1,0.55\n2,0.\n", "a,b\n", "a,b\n1,é"]
)
def test_a_last_row_that_may_be_whole_is_not_taken_for_cut_off(tmp_path: Path, text: str) -> None:
    assert not read(tmp_path / "a.csv", text).is_cut_off


def test_an_older_encoding_is_told_by_the_words_of_the_headings(tmp_path: Path) -> None:
    words = ["ラベル", "라벨", "标签", "標籤", "метка"]
    for word, encoding in zip(words, ["cp932", "cp949", "gb18030", "cp950", "cp1251"], strict=True):
        (tmp_path / "a.csv").write_bytes(f"file,{word}\na.png,x\n".encode(encoding))
        assert read_table(tmp_path / "a.csv", words=words).header == ["file", word]


def test_a_label_table_below_a_comment_and_one_whose_heading_is_one_are_read(tmp_path: Path) -> None:
    assert cells(read(tmp_path / "a.csv", "# mine, all of it\nfile,label\na.png,3\n"))[0] == ["file", "label"]
    assert cells(read(tmp_path / "a.csv", "#file,label\na.png,cat\nb.png,dog\n"))[0] == ["#file", "label"]
    assert cells(read(tmp_path / "a.csv", "file,label,note\na.png,A,\nb.png,7,\n"))[0] == [
        "file",
        "label",
        "note",
    ]


def test_a_last_row_that_was_cut_off_has_only_the_cells_that_it_has(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "a,b\n1,2\n3\n")
    assert table.cell(table.rows[-1], 0) == "3"
    with pytest.raises(CnnzooError, match=r"a\.csv, line 3: it has 1 of the header's 2 fields"):
        table.cell(table.rows[-1], 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty. Name a CSV file."),
        (b"\xff\xfe", "is empty. Name a CSV file."),
        (b"a,b\n1,2,3\n", "line 2: it has 3 of the header's 2 fields. Fix that line."),
        (b"\x00" * 10, "is not a text file. Name a CSV file."),
        (b"\x7fELF\x02\x01\x01\x00" + b"\x00" * 8 + b"\x03\x00\x3e\x00", "is not a text file"),
        (b"\xff\xfea", "is not a text file"),
        (b"a,b\n\x81\x8d,2\n", "is not a text file"),
        (b"a,b\n1,\0\n", "is not a text file"),
        (b"a,b\n1," + b"9" * 200_000 + b"\n", "is not a CSV file: field larger"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(CnnzooError) as caught:
        read(tmp_path / "a.csv", content)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_says_what_file_was_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(CnnzooError, match=r"is empty\. Name the CSV file of labels\."):
        read_table(tmp_path / "a.csv", "the CSV file of labels")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_a_device_without_an_end_is_not_read_to_its_end(device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"needs {device}")
    with pytest.raises(CnnzooError, match="is not a text file"):
        read_table(Path(device))


def test_a_table_of_many_rows_is_read(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "file,label\n" + "".join(f"{n}.png,{n % 10}\n" for n in range(50_000)))
    assert len(table.rows) == 50_000
    assert table.rows[-1] == (50_001, ["49999.png", "9"])


@given(
    st.binary(max_size=80)
    | st.text(max_size=60).map(str.encode)
    | st.text(max_size=40).map(lambda s: s.encode("utf-16"))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_bytes_are_a_table_or_an_error_in_one_line(tmp_path: Path, content: bytes) -> None:
    try:
        table = read(tmp_path / "a.csv", content)
    except CnnzooError as error:
        assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)
        return
    assert any(table.header)
    assert all(len(row.cells) <= len(table.header) for row in table.rows)
