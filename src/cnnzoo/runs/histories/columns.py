"""Which column of a history says what, told by its heading, whichever tool or person wrote it."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cnnzoo.plain_csv import Table
from cnnzoo.runs.histories.numbers import MISSING

# What the words of headings mean: Keras' val_accuracy, Lightning's train_loss_epoch, timm's eval_top1, Ultralytics'
# metrics/accuracy_top1, the tutorial's train_loss_all, and what people write, in some of their languages.
_VOCABULARY = {
    "train": "train training trainings trained trn tr fit 训练 entrainement entrenamiento",
    "val": "val valid validation vali eval evaluation dev 验证 validierung validierungs validacion",
    "test": "test testing tst 测试",
    "loss": "loss losses cost 损失 verlust perte perdida",
    "acc": "acc accuracy top1 acc1 prec1 准确率 正确率 准确度 精度 genauigkeit exactitude exactitud",
    "error": "error err errors 错误率 fehlerrate erreur",
    "epoch": "epoch epochs ep 轮次 轮数 轮 周期 epoche epoque epoca",
    "step": "step steps iter iters iteration iterations batch batches 步数 步",
    "phase": "phase split mode stage subset 阶段",
    "metrics": "metrics",
    "": "all avg average mean total overall final categorical sparse binary multiclass score rate value percent pct "
    "number num no nr n idx index id current global trainer set data of on in per the 集 函数 值",
}
_MEANINGS = {word: meaning for meaning, words in _VOCABULARY.items() for word in words.split()}
_CHINESE = re.compile("|".join(sorted((w for w in _MEANINGS if w > "一"), key=len, reverse=True)))
_GLUED = re.compile(
    r"(train|training|trainings|val|valid|validation|validierungs|test|eval)"
    r"(loss|acc|accuracy|error|err|verlust|genauigkeit|fehlerrate)"
)

# What measures are called, understood or not.
_LIKE_A_MEASURE = re.compile(
    r"loss|accura|error|precision|recall|perplexity|entropy|score|metric|损失|准确|精度|召回"
    r"|(?<![a-z])(acc|err|f1|f2|fbeta|auc|auroc|auprc|roc|ap|map|iou|miou|dice|jaccard|top|prec|rec|ppl|nll|"
    r"mse|rmse|mae|mape|kappa|mcc|bleu|rouge|psnr|ssim|sensitivity|specificity)[\d@]*(?![a-z])"
)

EPOCH, PLAIN, STEP = range(3)
"""Over what a column's values are, by its heading: an epoch, it does not say, a step."""


class _Heading(NamedTuple):
    """What a heading says: whose measure, which (``loss``, ``acc`` or ``error``), and over what."""

    split: str | None
    kind: str
    span: int

    @property
    def place(self) -> tuple[str | None, str]:
        """What is drawn as one line: errors are accuracies turned round."""
        return self.split, "loss" if self.kind == "loss" else "acc"


@dataclass(frozen=True)
class Column:
    """A column that holds a measure.

    Attributes:
        index: Its place in a row.
        name: Its heading.
        is_error: Whether it holds 1 - accuracy.
        span: ``EPOCH``, ``PLAIN`` or ``STEP``.
    """

    index: int
    name: str
    is_error: bool
    span: int


@dataclass(frozen=True)
class Columns:
    """The columns that a history is read from.

    Attributes:
        epoch: Where the epoch stands.
        step: Where the step stands.
        phase: Where a row says whether it is of the training or the validation.
        measures: The columns of ``train_loss``, ``train_acc``, ``val_loss`` and ``val_acc``; and of ``loss``
            and ``acc``, where ``phase`` says whose they are.
        left: Headings of what looks like a measure, holds something, and is not drawn.
        notes: What was assumed, a phrase each.
    """

    epoch: int | None
    step: int | None
    phase: int | None
    measures: Mapping[str, Column]
    left: tuple[str, ...]
    notes: tuple[str, ...]


def find_columns(table: Table) -> Columns:
    """Find the columns that hold an epoch's measures, by their headings and by what is filled in."""
    words = [_meanings(name) for name in table.header]
    roles = {role: words.index({role}) if {role} in words else None for role in ("epoch", "step", "phase")}
    body = [row for row in table.rows if row.cells != table.header]
    phase = roles["phase"]
    if phase is not None and not all(split_of(table.cell(row, phase)) for row in body):
        phase = None

    said = {index: heading for index, one in enumerate(words) if one and (heading := _heading(one))}
    rows = [{i for i, cell in enumerate(row.cells) if cell.lower() not in MISSING} for row in body]
    filled = set().union(*rows)
    # A history without an epoch yet has its columns, too.
    usable = said.keys() & filled or said.keys()
    found: dict[tuple[str | None, str], int] = {}
    for index in sorted(usable, key=lambda index: (said[index].kind == "error", said[index].span, index)):
        found.setdefault(said[index].place, index)

    tests = {place: index for place, index in found.items() if place[0] == "test"}
    if any(split == "val" for split, _ in found) or not _is_of_epochs(set(tests.values()), rows, said):
        tests = {}
    notes = [f"{_names(table, tests.values())} drawn as validation"] if tests else []
    found |= {("val", kind): index for (_, kind), index in tests.items()}
    chosen: dict[str, int] = {}
    for kind in ("loss", "acc"):
        train, val, bare = (found.get((split, kind)) for split in ("train", "val", None))
        if bare is not None and phase is not None:
            chosen[kind] = bare
        elif (
            bare is not None
            and train is None
            and (kind == "loss" or val is not None or ("train", "loss") not in found)
        ):
            train = bare
        elif bare is not None and val is None:
            # Beside a train_loss, fastai's accuracy and error_rate have no prefix: they are the validation's.
            val = bare
            notes.append(f"{_names(table, [bare])} taken for that of the validation, as fastai writes it")
        chosen |= {f"{split}_{kind}": at for split, at in (("train", train), ("val", val)) if at is not None}

    measures = {
        measure: Column(index, table.header[index], said[index].kind == "error", said[index].span)
        for measure, index in chosen.items()
    }
    # The same over another span, as train_loss_step is beside train_loss_epoch, is drawn already.
    spans = {said[index].place: said[index].span for index in chosen.values()}
    left = (
        shown_column(table.header[index])
        for index in sorted(filled - set(chosen.values()))
        if _LIKE_A_MEASURE.search(table.header[index].casefold())
        and not (index in said and said[index].span != spans.get(said[index].place, said[index].span))
    )
    return Columns(roles["epoch"], roles["step"], phase, measures, tuple(dict.fromkeys(left)), tuple(notes))


def split_of(cell: str) -> str | None:
    """Return "train", "val" or "test" for a word such as ``Training`` or ``eval``."""
    split = "".join(_meanings(cell) or ())
    return split if split in ("train", "val", "test") else None


def shown_column(name: str) -> str:
    """Return a heading on one line, fit to be printed."""
    name = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return name if len(name) <= 40 else f"{name[:39]}…"


def _names(table: Table, indices: Iterable[int]) -> str:
    """Return headings as the subject of a sentence, with its verb."""
    names = [shown_column(table.header[index]) for index in indices]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _is_of_epochs(columns: set[int], rows: list[set[int]], said: Mapping[int, _Heading]) -> bool:
    """Whether tests were made as epochs ended, and not once after the training, in a row of its own."""
    tested = [row for row in rows if row & columns]
    return len(tested) > 1 or any(
        said[i].split in ("train", None) for row in tested for i in row if i in said
    )


def _meanings(name: str) -> set[str] | None:
    """Return what the words of a heading mean, without those that add nothing; None if there are others."""
    name = unicodedata.normalize("NFKD", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).casefold()
    name = "".join(sign for sign in name if not unicodedata.combining(sign))
    name = re.sub(r"\btop[\W_]*1\b", "top1", _CHINESE.sub(r" \g<0> ", name.replace("_", " ")))
    words = [part for word in re.findall(r"\w+", name) for part in _parts(word)]
    return {_MEANINGS[word] for word in words} - {""} if all(word in _MEANINGS for word in words) else None


def _parts(word: str) -> tuple[str, ...]:
    glued = _GLUED.fullmatch(word)
    return (glued[1], glued[2]) if glued else (word,)


def _heading(words: set[str]) -> _Heading | None:
    """Return what a heading of these meanings says, if that is a measure, and one alone."""
    splits, kinds = words & {"train", "val", "test"}, words & {"loss", "acc", "error"}
    if "error" in kinds:
        kinds -= {"acc"}  # top1 error
    if len(splits) > 1 or len(kinds) != 1 or "phase" in words:
        return None
    # What Ultralytics calls metrics is always of the validation.
    split = splits.pop() if splits else "val" if "metrics" in words else None
    span = STEP if "step" in words else EPOCH if "epoch" in words else PLAIN
    return _Heading(split, kinds.pop(), span)
