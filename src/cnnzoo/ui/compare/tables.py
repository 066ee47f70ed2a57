"""What a person sees of a comparison: tables on a page, and the same as Markdown, LaTeX, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cnnzoo.analysis.compare.result import points_between, written_p
from cnnzoo.analysis.compare.significance import (
    ALPHA,
    FLIPS_FROM,
    MCNEMAR,
    PAIRED_T,
    PERMUTATION,
    POWER,
    SIGN_FLIP,
    WELCH,
)
from cnnzoo.ui.page import Layout, Page, bare_heading
from cnnzoo.ui.tables import NONE

if TYPE_CHECKING:
    from cnnzoo.analysis.compare.result import ComparedPair, ComparedSetting, ComparisonResult

MAX_SENTENCES = 10
"""Maximum number of pairs with a sentence each on the screen."""

_LATEX = str.maketrans({"–": "--", "−": "-", "<": "$<$"})
"""What LaTeX would not print as it stands."""


def print_comparison(result: "ComparisonResult") -> None:
    """Print what differs in the settings and in the results, then each pair with its test, in a table and in words."""
    page = Page()
    if any(
        f"{key}={value}" not in each.name for each in result.settings for key, value in each.differs.items()
    ):
        page.line("What differs in the settings", "bold")
        page.table(*_difference_layouts(result))
        page.line()
    page.line(f"Test accuracy on {result.num_images:,} images of {result.dataset}", "bold")
    page.table(*_result_layouts(result.settings))
    page.line(_about_intervals(result))
    page.line()
    if not result.pairs:
        page.line(
            "These runs differ in nothing but the seed: there are no settings to compare, and this is how far apart "
            "chance alone puts them."
        )
    else:
        page.line("Is the difference more than chance?", "bold")
        page.table(*_pair_layouts(result.pairs))
        for line in _about_tests(result):
            page.line(line)
    if len(result.pairs) <= MAX_SENTENCES:
        for pair in result.pairs:
            page.line()
            page.line(pair.in_words())
    if result.notes:
        page.line()
    for note in result.notes:
        page.line(note)


def write_comparison(result: "ComparisonResult", format_: str) -> str:
    """Return a comparison as ``json``, ``csv``, ``markdown`` or ``latex``.

    CSV has a row for each pair; Markdown and LaTeX a table of the settings and one of the pairs.
    """
    if format_ == "json":
        return json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
    if format_ == "csv":
        return _as_csv(result)
    tables = [_result_layouts(result.settings)[0]]
    if result.pairs:
        tables.append(_pair_layouts(result.pairs)[0])
    write = _as_markdown if format_ == "markdown" else _as_latex
    return "\n\n".join(write(*table) for table in tables)


def _difference_layouts(result: "ComparisonResult") -> tuple[Layout, Layout]:
    rows = [(setting.name, *setting.differs.values()) for setting in result.settings]
    stacked = [
        ("\n ".join([setting.name, *(f"{key} {value}" for key, value in setting.differs.items())]),)
        for setting in result.settings
    ]
    return (["~Setting", *(f"~{key}" for key in result.settings[0].differs)], rows), (["~Setting"], stacked)


def _result_layouts(settings: "Sequence[ComparedSetting]") -> tuple[Layout, Layout]:
    rows = [
        (
            setting.name,
            str(len(setting.runs)),
            f"{setting.mean:.2%}",
            NONE if setting.std is None else f"{100 * setting.std:.2f}",
            _interval(setting),
            _val_acc(setting),
            _epochs(setting),
        )
        for setting in settings
    ]
    stacked = [
        (
            f"{name}\n {seeds}\n {epochs}",
            f"{mean}{'' if std == NONE else f' ± {std}'}\n{interval}\n{val_acc}",
        )
        for name, seeds, mean, std, interval, val_acc, epochs in rows
    ]
    return (
        (["~Setting", ">Seeds", ">Test acc", ">Std", ">~95% interval", ">Val acc", ">~Epochs"], rows),
        (["~Setting\n seeds\n epochs", ">Test acc\n95% interval\nval acc"], stacked),
    )


def _pair_layouts(pairs: "Sequence[ComparedPair]") -> tuple[Layout, Layout]:
    rows = [
        {
            "~Pair": f"{pair.second} vs {pair.first}",
            ">Points": f"{100 * pair.difference:+.2f}".replace("-", "−"),
            ">~95% interval": points_between(pair.low, pair.high).replace("-", "−") or NONE,
            "~Test": pair.test,
            ">p": written_p(pair.p_value),
            ">~p (Holm)": written_p(pair.p_adjusted),
            "~Verdict": pair.verdict,
            ">~Seeds needed": NONE
            if pair.seeds_needed is None or pair.p_value < ALPHA
            else f"{pair.seeds_needed:,}",
        }
        for pair in pairs
    ]
    if len(pairs) == 1:  # then there is nothing to correct for
        del rows[0][">~p (Holm)"]
    if all(row[">~Seeds needed"] == NONE for row in rows):
        for row in rows:
            del row[">~Seeds needed"]
    p = ">p" if len(pairs) == 1 else ">~p (Holm)"
    stacked = [
        (
            f"{pair.second}\n vs {pair.first}\n {pair.verdict}{_needed(row.get('>~Seeds needed', NONE))}",
            f"{row['>Points']}\n{row['>~95% interval']}\n{row[p]}",
        )
        for pair, row in zip(pairs, rows, strict=True)
    ]
    return (
        (list(rows[0]), [tuple(row.values()) for row in rows]),
        (["~Second\n vs first\n verdict", f">Points\n95% interval\n{bare_heading(p)}"], stacked),
    )


def _needed(seeds: str) -> str:
    return "" if seeds == NONE else f"\n seeds needed: {seeds}"


def _about_intervals(result: "ComparisonResult") -> str:
    counts = {len(setting.runs) for setting in result.settings}
    of_many = "Std and the 95% interval of the mean (Student's t) are over seeds"
    of_one = "the 95% interval of a single run is over the images (Wilson)"
    said = [*([of_many] if counts != {1} else ()), *([of_one] if 1 in counts else ())]
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _about_tests(result: "ComparisonResult") -> Iterator[str]:
    said = {
        MCNEMAR: f"{MCNEMAR}: two nets on the same images",
        PAIRED_T: f"{PAIRED_T}: runs of the same seed against each other (below {FLIPS_FROM} seeds)",
        SIGN_FLIP: f"{SIGN_FLIP}: the same (from {FLIPS_FROM} seeds on, and where no spread is left)",
        WELCH: f"{WELCH}: unpaired, as the seeds are not the same",
        PERMUTATION: f"{PERMUTATION}: unpaired and without spread",
    }
    for test in dict.fromkeys(pair.test for pair in result.pairs):
        yield f"{said[test]}."
        if test == MCNEMAR and any(len(setting.runs) > 1 for setting in result.settings):
            yield "Where a setting has a single run, one net of each is compared: of the same seed, if both have one."
    many = len(result.pairs)
    if many > 1:
        yield f"p (Holm): corrected for {many} pairs; the verdict goes by it, at {ALPHA}."
    if any(pair.seeds_needed and pair.p_value >= ALPHA for pair in result.pairs):
        yield (
            f"Seeds needed: to find the difference seen, were it the true one, in {POWER:.0%} of the cases, at {ALPHA} "
            "for that pair alone."
        )


def _interval(setting: "ComparedSetting") -> str:
    return NONE if setting.interval is None else "{:.2%} to {:.2%}".format(*setting.interval)


def _val_acc(setting: "ComparedSetting") -> str:
    values = [value for run in setting.runs if (value := run.to_dict()["val_acc"]) is not None]
    return f"{sum(values) / len(values):.2%}" if values else NONE


def _epochs(setting: "ComparedSetting") -> str:
    epochs = sorted({run.recorded.epochs for run in setting.runs})
    return str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"


def _as_csv(result: "ComparisonResult") -> str:
    rows = [pair.to_dict() for pair in result.pairs]
    by_name = {setting.name: setting for setting in result.settings}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    means = [f"{side}_{what}" for side in ("first", "second") for what in ("mean", "std")]
    names = [name for name in (rows[0] if rows else ()) if not name.endswith("_seeds")]
    writer.writerow([*names[:2], *means, *names[2:]])
    for row in rows:
        sides = [by_name[row[side]] for side in ("first", "second")]
        figures = [figure for side in sides for figure in (side.mean, side.std)]
        values = [row[name] for name in names]
        writer.writerow([*values[:2], *figures, *values[2:]])
    return text.getvalue().rstrip("\n")


def _as_markdown(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    rule = ["---:" if heading.startswith(">") else "---" for heading in headings]
    plain = [bare_heading(heading) for heading in headings]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in (plain, rule, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _as_latex(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=[bare_heading(heading) for heading in headings])
    columns = "".join("r" if heading.startswith(">") else "l" for heading in headings)
    table = frame.to_latex(index=False, escape=True, column_format=columns)
    return str(table).translate(_LATEX).rstrip()
