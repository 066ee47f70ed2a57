"""What a net takes pictures for: the same as evaluation, for any picture, from wherever it comes."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps

import cnnzoo
from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.config import TrainConfig
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.loader import Loader
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.runs.checkpoint import load_checkpoint
from tests.conftest import Command
from tests.faults.shared import assert_refused
from tests.helpers import CPU, quick, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet after an epoch on the sample."""
    out = tmp_path_factory.mktemp("predict") / "runs"
    config = TrainConfig(
        model="lenet", model_options={"activation": "tanh"}, dataset=SAMPLE, epochs=1, limit_val=100, out=out
    )
    return train(config).run


@pytest.fixture(scope="module")
def test_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's test images as files, ``0.png`` to ``999.png``."""
    return saved_images(tmp_path_factory.mktemp("images"))


def sample_images() -> torch.Tensor:
    dataset = load_dataset(SAMPLE, "test", image_size=28)
    assert dataset is not None
    return next(dataset.source.batches([torch.arange(1000)], CPU))[0]


def saved_images(folder: Path, *, negative: bool = False) -> Path:
    for number, image in enumerate(sample_images().numpy()):
        Image.fromarray(255 - image[0] if negative else image[0]).save(folder / f"{number}.png")
    return folder


def table_of(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype={"prediction": str})


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (28, 28)) -> Path:
    """Save a sheet of a shade with a grey square in its middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = Image.new("L", size, shade)
    sheet.paste(128, (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2))
    sheet.save(path)
    return path


def likeliest(frame: pd.DataFrame) -> list[str]:
    return list(frame["prediction"])


# The same as evaluation


@pytest.mark.parametrize("batch_size", [64, 1024])
def test_predictions_are_those_of_evaluation(
    command: Command, run: Path, test_images: Path, batch_size: int
) -> None:
    size = ("--batch-size", str(batch_size))
    done = command("predict", run, test_images, "-k", "10", "--invert", "no", "--format", "csv", *size)
    assert (done.code, done.err) == (0, "")
    frame = table_of(done.out)
    assert [Path(file).name for file in frame["file"]] == [f"{number}.png" for number in range(1000)]

    saved = load_checkpoint(run / "best.pt")
    model, dataset = saved.build_model().eval(), load_dataset(SAMPLE, "test", image_size=28)
    assert dataset is not None
    batches = Loader(dataset.source, saved.preprocessing, batch_size, CPU).epoch()
    with torch.inference_mode():
        expected = torch.cat([model(batch.images).softmax(1) for batch in batches]).numpy()
    found = np.zeros_like(expected)
    for place in range(1, 11):
        suffix = f"_{place}" if place > 1 else ""
        labels = [saved.classes.index(name) for name in frame[f"prediction{suffix}"]]
        found[np.arange(1000), labels] = frame[f"probability{suffix}"]
    assert likeliest(frame) == [saved.classes[label] for label in expected.argmax(1)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    truths = [saved.classes[label] for label in dataset.source.labels.tolist()]
    confusion = pd.crosstab(
        pd.Categorical(truths, saved.classes),
        pd.Categorical(frame["prediction"], saved.classes),
        dropna=False,
    )
    assert confusion.to_numpy().tolist() == evaluate(run / "best.pt", batch_size=batch_size).confusion


def test_a_net_of_a_folder_sees_pictures_as_its_folder_was_read(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for number in range(30):
            for name, channel in (("red", 0), ("blue", 2)):
                pixels = rng.integers(0, 120, (20 + number, 40 - number, 3), dtype=np.uint8)
                pixels[..., channel] += 60
                (tmp_path / "paints" / part / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "paints" / part / name / f"{number}.png")
    run = train(
        quick(tmp_path, dataset=f"folder:{tmp_path / 'paints'}", limit_train=None, limit_val=None)
    ).run
    evaluation = evaluate(run / "best.pt")
    frame = table_of(command("predict", run, "paints/test", "--format", "csv").out)
    pairs = [
        (Path(file).parent.name, name) for file, name in zip(frame["file"], frame["prediction"], strict=True)
    ]
    assert [
        [pairs.count((true, told)) for told in ("blue", "red")] for true in ("blue", "red")
    ] == evaluation.confusion
    assert not frame["inverted"].any()
    assert list(frame.columns) == [
        *("file", "prediction", "probability", "prediction_2", "probability_2", "inverted")
    ]  # there are two classes


def test_a_large_picture_of_a_net_that_lays_images_into_black_is_laid_in_as_they_were(
    command: Command, tmp_path: Path
) -> None:
    run = train(quick(tmp_path, model="lenet5-1998", model_options={}, epochs=1)).run
    for side in (28, 200, 17):
        Image.new("L", (side, side), 255).save(tmp_path / f"{side}.png")
    frame = table_of(command("predict", run, "28.png", "200.png", "17.png", "--format", "csv").out)
    np.testing.assert_allclose(frame["probability"], frame["probability"][0], rtol=1e-5)
    assert len(set(likeliest(frame))) == 1


# Pictures as people have them


def test_a_picture_is_seen_as_a_person_sees_it(command: Command, run: Path, tmp_path: Path) -> None:
    image = Image.fromarray(sample_images()[0, 0].numpy())
    upright = Image.new("L", (28, 40))
    upright.paste(image, (0, 6))
    upright.save(tmp_path / "upright.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=turned)
    ink = Image.merge("LA", (Image.new("L", (28, 40), 255), upright))
    Image.alpha_composite(Image.new("RGBA", (28, 40), "black"), ink.convert("RGBA")).save(
        tmp_path / "colour.png"
    )
    image.save(tmp_path / "square.png")
    frame = table_of(command("predict", run, ".", "--format", "csv").out)
    assert len(frame) == 4
    assert np.ptp(frame["probability"]) < 1e-6
    assert len(set(likeliest(frame))) == 1


def test_pictures_come_from_files_folders_patterns_and_stdin_in_natural_order_each_once(
    command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 10):
        picture(tmp_path / "scans" / f"img{number}.png", number)
    picture(tmp_path / "b" / "deep" / "er" / "x.bmp")
    picture(tmp_path / "b" / ".hidden" / "y.png")
    picture(tmp_path / "photo.png").rename(tmp_path / "photo")
    stdin = io.TextIOWrapper(io.BytesIO((tmp_path / "photo").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    done = command("predict", run, "scans/*.png", "photo", "-", "b", "scans/img10.png", "--format", "csv")
    assert (done.code, done.err) == (0, "")
    assert list(table_of(done.out)["file"]) == [
        *("-", "b/deep/er/x.bmp", "photo", "scans/img1.png", "scans/img2.png", "scans/img10.png")
    ]


def test_what_lies_in_a_folder_and_is_no_image_is_counted(
    command: Command, run: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "scans" / "1.png")
    (tmp_path / "scans" / "labels.csv").write_text("")
    done = command("predict", run, "scans", "--format", "csv")
    assert (done.code, done.err) == (0, "Warning: Passed over in scans: 1 .csv.\n")


# Light on dark


def test_negatives_of_light_on_dark_images_are_noticed_and_inverted(
    command: Command, run: Path, test_images: Path, tmp_path: Path
) -> None:
    negatives = saved_images(tmp_path, negative=True)
    usual, other = (
        table_of(command("predict", run, folder, "--format", "csv").out)
        for folder in (test_images, negatives)
    )
    assert usual["inverted"].sum() == 0
    assert other["inverted"].sum() == 1000
    columns = ["prediction", "probability", "prediction_3", "probability_3"]
    pd.testing.assert_frame_equal(other[columns], usual[columns])
    as_they_are = command("predict", run, negatives, "--invert", "no", "--format", "csv")
    left = table_of(as_they_are.out)
    assert not left["inverted"].any()
    assert "and 999 more are dark on light, and the net was trained on light on dark." in as_they_are.err
    assert (left["prediction"] == usual["prediction"]).mean() < 0.5
    shown = command("predict", run, tmp_path / "0.png").out
    assert "1 of 1 inverted: dark on light, and the net was trained on light on dark" in shown
    asked = command("predict", run, test_images / "0.png", "--invert", "yes", "--format", "jsonl").out
    assert json.loads(asked)["inverted"] is True


def test_a_drawn_figure_is_the_same_wherever_and_however_large_it_is(
    command: Command, run: Path, tmp_path: Path
) -> None:
    sheets = (
        ((200, 200), (30, 50), 4),
        ((400, 300), (150, 40), 9),
        ((700, 700), (8, 8), 6),
        ((500, 500), (90, 20), 16),
    )
    for number, (size, corner, scale) in enumerate(sheets):
        sheet = Image.new("L", size, 240 - 10 * number)
        for x, y, width, height in ((0, 0, 20, 4), (12, 4, 5, 20)):  # a seven
            left, top = corner[0] + x * scale, corner[1] + y * scale
            sheet.paste(20, (left, top, left + width * scale, top + height * scale))
        sheet.save(tmp_path / f"{number}.png")
    same = table_of(command("predict", run, ".", "--crop-to-ink", "--format", "csv").out)
    assert same["inverted"].all()
    assert len(set(likeliest(same))) == 1
    assert np.ptp(same["probability"]) < 0.05
    other = table_of(command("predict", run, ".", "--format", "csv").out)
    assert np.ptp(other["probability"]) > 0.05


def test_only_a_net_of_light_figures_on_dark_takes_drawn_ones(command: Command, tmp_path: Path) -> None:
    for number in range(12):
        picture(tmp_path / "pets" / "cat" / f"{number}.png", 5 * number)
        picture(tmp_path / "pets" / "dog" / f"{number}.png", 255 - 5 * number)
    train(quick(tmp_path, dataset=f"folder:{tmp_path / 'pets'}", limit_train=None, limit_val=None, name="r"))
    assert_refused(command("predict", "r", "pets", "--crop-to-ink"), "--crop-to-ink", "r/best.pt", code=2)
    assert "inverted" not in command("predict", "r", "pets").out
    asked = command("predict", "r", "pets", "--invert", "yes", "--format", "csv").out
    assert table_of(asked)["inverted"].all()


# What a person sees on a picture, and where nothing is


def seven(scale: int) -> Image.Image:
    """Draw a seven that leaves no room around it: white on black, with edges between the two."""
    figure = Image.new("L", (20 * scale, 24 * scale), 0)
    figure.paste(255, (0, 0, 20 * scale, 5 * scale))
    figure.paste(255, (13 * scale, 4 * scale, 19 * scale, 24 * scale))
    return figure.resize((20 * scale + 1, 24 * scale + 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "semi"])
def test_row_41_a_light_figure_on_a_transparent_ground_is_seen_as_on_black(
    command: Command, run: Path, tmp_path: Path, mode: str
) -> None:
    sheet = Image.new("L", (200, 200), 0)
    sheet.paste(seven(4), (60, 50))
    figure = Image.new("RGBA", sheet.size, (255, 255, 255, 0))
    figure.putalpha(sheet)
    if mode == "P":
        sheet = sheet.point(lambda value: 255 * (value > 127))
        figure = sheet.convert("P")
        figure.info["transparency"] = 0
    elif mode == "semi":  # not quite white, below an edge of full opacity
        sheet = sheet.point(lambda value: value * 230 // 255)
        figure = Image.new("RGBA", sheet.size, (230, 230, 230, 0))
        figure.putalpha(sheet.point(lambda value: round(value * 255 / 230)))
    else:
        figure = figure.convert(mode)
    (tmp_path / "scans").mkdir()
    sheet.save(tmp_path / "scans" / "black.png")
    figure.save(tmp_path / "scans" / "transparent.png")
    for options in ((), ("--crop-to-ink",)):
        done = command("predict", run, "scans", *options, "--format", "csv")
        assert done.err == ""
        frame = table_of(done.out)
        assert not frame["inverted"].any()
        assert len(set(likeliest(frame))) == 1
        assert np.ptp(frame["probability"]) < 0.01


def test_row_41_a_dark_figure_on_a_transparent_ground_is_seen_as_on_white(
    command: Command, run: Path, tmp_path: Path
) -> None:
    ink = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    ink.paste((20, 30, 40, 255), (20, 20, 80, 40))
    white = Image.new("RGBA", ink.size, "white")
    white.alpha_composite(ink)
    ink.save(tmp_path / "1.png")
    white.convert("RGB").save(tmp_path / "2.png")
    frame = table_of(command("predict", run, "1.png", "2.png", "--format", "csv").out)
    assert frame["inverted"].all()
    assert np.ptp(frame["probability"]) == 0


def test_row_41_a_blank_picture_is_answered_with_a_warning(
    command: Command, run: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 20, (300, 300), dtype=np.uint8)
    blanks = {
        "black": Image.new("L", (40, 40), 0),
        "nothing": Image.new("RGBA", (40, 40), (0, 0, 0, 0)),
        "scan": Image.fromarray(230 + noise),
        "white": Image.new("RGB", (50, 30), "white"),
    }
    (tmp_path / "scans").mkdir()
    for name, image in blanks.items():
        image.save(tmp_path / "scans" / f"{name}.png")
        alone = command("predict", run, f"scans/{name}.png", "--format", "csv")
        assert alone.code == 0
        assert alone.err.startswith(f"Warning: scans/{name}.png is blank: ")
        assert "inverted" in alone.out
    faint = Image.new("L", (300, 300), 230)
    faint.paste(190, (140, 60, 142, 240))  # a thin line
    faint.save(tmp_path / "scans" / "line.png")
    done = command("predict", run, "scans")
    assert done.err.startswith("Warning: scans/black.png and 3 more are blank: ")
    marked = [line.split()[0] for line in done.out.splitlines() if line.rstrip().endswith("blank")]
    assert marked == [f"scans/{name}.png" for name in blanks]


def test_a_figure_that_touches_the_border_is_cut_out_as_any_other(
    command: Command, run: Path, tmp_path: Path
) -> None:
    for number, margins in enumerate(((60, 60), (60, 0), (0, 60), (1, 1), (0, 0))):
        sheet = ImageOps.expand(seven(4), margins)
        sheet.save(tmp_path / f"{number}.png")
        ImageOps.invert(sheet).save(tmp_path / f"{number}-negative.png")
    frame = table_of(command("predict", run, ".", "--crop-to-ink", "--format", "csv").out)
    assert len(set(likeliest(frame))) == 1
    assert np.ptp(frame["probability"]) < 0.01


# What is printed


def test_every_format_says_the_same_and_so_does_python(
    command: Command, run: Path, test_images: Path
) -> None:
    files = [str(test_images / f"{number}.png") for number in (3, 20, 100)]
    lines = [
        json.loads(line) for line in command("predict", run, *files, "--format", "jsonl").out.splitlines()
    ]
    rows = table_of(command("predict", run, *files, "--format", "csv").out)
    frame = cnnzoo.predict(run / "best.pt", files)
    assert list(frame.columns) == [
        *(
            "file",
            "prediction",
            "probability",
            "prediction_2",
            "probability_2",
            "prediction_3",
            "probability_3",
        ),
        "inverted",
    ]
    pd.testing.assert_frame_equal(frame, rows)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(lines))
    shown = command("predict", run, *files, "-k", "2").out.splitlines()
    assert shown[0] == f"{run / 'best.pt'}: lenet, epoch 1, trained on {SAMPLE}"
    for line, row in zip(shown[-3:], lines, strict=True):
        assert line.split("  ")[0] == row["file"]
        assert f"{row['prediction']} " in line
        assert f"{row['probability']:.2%}" in line
        assert f"{row['prediction_2']} {row['probability_2']:.2%}" in line
        assert row["prediction_3"] not in line


@pytest.mark.parametrize("columns", [80, 40])
def test_the_table_fits_a_terminal(
    command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    picture(tmp_path / "scans" / "a picture with a long name.png", 255)
    picture(tmp_path / "scans" / "2.png", 9)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = command("predict", run, "scans", "-k", "10").out.splitlines()[1:]
    assert "Ankle boot" in "".join(lines)
    assert max(map(len, lines)) <= columns


# Which net is asked


def test_the_newest_run_is_asked_and_named_where_none_is_named(
    command: Command, run: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "1.png")
    args = ("predict", "1.png", "--out", run.parent)
    done = command(*args, "--format", "csv")
    assert (done.code, done.err) == (0, f"{run / 'best.pt'}: lenet, epoch 1\n")
    assert command(*args).out.startswith(f"{run / 'best.pt'}: lenet, epoch 1")
    for word in (run.name, "last", run / "last.pt"):
        assert command("predict", word, "1.png", "--out", run.parent, "--format", "csv").out == done.out


def test_what_lies_in_the_folder_goes_before_a_runs_name(command: Command, run: Path, tmp_path: Path) -> None:
    picture(tmp_path / run.name / "1.png")
    picture(tmp_path / "2.png")
    done = command("predict", run.name, "2.png", "--out", run.parent, "--format", "csv")
    assert list(table_of(done.out)["file"]) == ["2.png", f"{run.name}/1.png"]


def test_wrong_usage_is_one_line(command: Command, run: Path, tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    out = ("--out", run.parent)
    assert_refused(command("predict"), "FILES", "cnnzoo predict --help", code=2)
    assert_refused(command("predict", run.name, *out), "name the pictures too", "photo.png", code=2)
    assert_refused(command("predict", f"{run.name}x", "1.png", *out), f"Did you mean '{run.name}'?", code=2)
    assert_refused(command("predict", "1.png"), "there is no trained run in runs")
    assert_refused(command("predict", "no.pt", "1.png"), "no.pt")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "seed-0").symlink_to(run)
    assert_refused(command("predict", "study", "1.png"), "Name one of them, such as study/seed-0", code=2)


# What cannot be read


@pytest.mark.parametrize("format_", ["table", "csv"])
def test_broken_and_missing_pictures_are_named_and_the_others_told(
    command: Command, run: Path, tmp_path: Path, format_: str
) -> None:
    picture(tmp_path / "scans" / "2.png", 255)
    whole = picture(tmp_path / "whole.png", 7, (300, 300)).read_bytes()
    (tmp_path / "scans" / "1.png").write_bytes(whole[:60])
    (tmp_path / "scans" / "3.png").write_bytes(b"no image")
    done = command("predict", run, "scans", "gone.png", "*.tif", "--format", format_)
    assert done.code == 1
    assert [line.partition(" (")[0] for line in done.err.splitlines()] == [
        "Error: there is no file or folder gone.png.",
        "Error: no file matches *.tif.",
        "Error: scans/1.png cannot be read as an image",
        "Error: scans/3.png cannot be read as an image",
    ]
    assert "--skip-bad-images" not in done.err
    assert "scans/2.png" in done.out
    assert "scans/1.png" not in done.out


def test_no_picture_at_all_is_one_line(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"")
    assert_refused(command("predict", run, "empty"), "there is no image in empty.")
    assert_refused(command("predict", run, "gone.png", "x.png"), "no file or folder gone.png. And 1 more.")
    assert_refused(command("predict", run, "bad.png"), "bad.png cannot be read as an image")
    with pytest.raises(cnnzoo.CnnzooError, match=r"no picture to look at: .*bad.png"):
        cnnzoo.predict(run / "best.pt", tmp_path / "bad.png")


def test_a_net_that_answers_nan_says_so(command: Command, run: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from cnnzoo.runs.checkpoint import save_checkpoint

    saved = load_checkpoint(run / "best.pt")
    weights = {name: torch.full_like(tensor, torch.nan) for name, tensor in saved.state_dict.items()}
    save_checkpoint(tmp_path / "nan.pt", replace(saved, state_dict=weights))
    picture(tmp_path / "1.png")
    assert_refused(command("predict", "nan.pt", "1.png"), "nan.pt answers with numbers that are NaN")
