"""What a study varies: each value of each setting with each of the others, and named variants beside them."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from cnnzoo.config import Setting, TrainConfig, field_types
from cnnzoo.data.datasets import full_name
from cnnzoo.errors import UsageError, shown, unknown
from cnnzoo.training.settings import check_settings

VARIANT = "variant"
"""The column of a study's results that names the variant."""

OF_THE_STUDY = ("out", "name")
"""Settings that say where a study is, and which its runs cannot have each their own of."""

MAX_SIGNS = 100
"""Of the name of a run's folder, its seed apart; a longer one is cut, and ends in a checksum."""

_VALUE = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^,]*))\s*(?:,|$)""")


@dataclass(frozen=True)
class Combination:
    """One setting of a study, to be trained with each seed.

    Attributes:
        label: What is varied, and its value as a person reads it, ``{"lr": "0.01", "option.dropout": "0.5"}``.
        name: How the folders of its runs begin, ``lr=0.01-dropout=0.5``; empty where nothing is varied.
        asked: The settings as they were given.
        config: The settings as the runs are going to note them.
    """

    label: Mapping[str, str]
    name: str
    asked: TrainConfig
    config: TrainConfig

    def run_name(self, seed: int) -> str:
        """Return the name of the folder of its run with a seed."""
        return f"{self.name}-seed-{seed}".removeprefix("-")


@dataclass(frozen=True)
class Dimension:
    """One setting that is varied.

    Attributes:
        column: What it is called, ``batch_size`` or ``option.dropout``.
        field: Of TrainConfig.
        entry: The name in it, of a setting that is a mapping.
        values: As they were given.
    """

    column: str
    field: str
    entry: str | None
    values: Sequence[object]

    @classmethod
    def of(cls, key: str, values: object) -> "Dimension":
        """Read a setting's name, as it has it in a file or as a flag, and its values.

        Args:
            key: Such as ``lr``, ``batch-size`` or ``option.dropout``.
            values: Several, or the text that stands behind ``--vary lr=``.

        Raises:
            UsageError: There is no such setting, it cannot be varied, or a value is empty.
        """
        head, dot, entry = key.strip().lstrip("-").partition(".")
        field = _spellings().get(head)
        is_mapping = field is not None and get_origin(_bare(field)) is dict
        if field is None or (dot and not is_mapping):
            entries = [f"{_column(name)}.NAME" for name in field_types() if get_origin(_bare(name)) is dict]
            raise unknown("setting", key, [*field_types(), *entries], listed="`cnnzoo train --help`")
        if field in OF_THE_STUDY:
            raise UsageError(f"{field} says where the study is, and cannot be varied. Give it as an option.")
        if is_mapping and not entry:
            raise UsageError(f"{head} is varied by the names in it. Write it as in {head}.NAME=A,B.")
        column = f"{_column(field)}.{entry}" if entry else field
        if isinstance(values, str):
            values = _split(values, joins=is_mapping or get_origin(_bare(field)) is tuple)
        if not isinstance(values, list | tuple) or not values or any(v == "" for v in values):
            raise UsageError(f"{key} has an empty value. Write values as in {key}=A,B.")
        if _is_optional(field):
            values = [None if value == "none" else value for value in values]
        return cls(column, field, entry or None, values)

    def into(self, settings: Mapping[str, Any], value: object) -> dict[str, Any]:
        """Return settings with a value of this one's."""
        if self.entry is None:
            return {**settings, self.field: value}
        return {**settings, self.field: {**(settings.get(self.field) or {}), self.entry: value}}

    def text(self, config: TrainConfig) -> str:
        """Return the value that a config has, as a person reads it."""
        value = getattr(config, self.field)
        return value_as_text(value if self.entry is None else value[self.entry])


def parse_vary(texts: Iterable[str]) -> dict[str, str]:
    """Return ``["lr=0.1,0.01"]`` as ``{"lr": "0.1,0.01"}``.

    Raises:
        UsageError: A text is not KEY=VALUES.
    """
    vary: dict[str, str] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--vary {text!r} is not NAME=VALUES. Write it as in --vary lr=0.1,0.01.")
        if key.strip() in vary:
            raise UsageError(f"{key.strip()} is varied twice. Write all of its values behind one --vary.")
        vary[key.strip()] = values
    return vary


def dimensions_of(vary: Mapping[str, object]) -> list[Dimension]:
    """Return what is varied, in its order.

    Raises:
        UsageError: There is no such setting, or it is varied twice, or a value is empty.
    """
    dimensions = [Dimension.of(key, values) for key, values in vary.items()]
    columns = [dimension.column for dimension in dimensions]
    for column in columns:
        if columns.count(column) > 1:
            raise UsageError(f"{column} is varied twice. Write all of its values behind one --vary.")
    return dimensions


def combinations_of(
    settings: Mapping[str, Any],
    dimensions: Sequence[Dimension],
    variants: Mapping[str, Mapping[str, Any]],
    source: str,
) -> list[Combination]:
    """Return every combination, in the order in which they are named, each checked as far as can be without images.

    Args:
        settings: What all of them share, by the names of TrainConfig's fields.
        dimensions: What is varied; the last one runs fastest.
        variants: Named groups of settings, each taken with each combination; empty for none.
        source: Where the settings come from, for an error.

    Raises:
        UsageError: A setting that cannot be right, or two combinations that are the same.
    """
    found: dict[str, Combination] = {}
    names = short_names(dimension.column for dimension in dimensions)
    for variant, changes in (variants or {"": {}}).items():
        own = _variant(variant, changes)
        for each in dimensions:
            if each.field in own and (not each.entry or each.entry in (own[each.field] or {})):
                raise UsageError(
                    f"variant {variant!r} sets {each.column}, which is varied. Leave one of the two out."
                )
        base = _merged(settings, own)
        for values in product(*(dimension.values for dimension in dimensions)):
            plain: dict[str, Any] = dict(base)
            for dimension, value in zip(dimensions, values, strict=True):
                plain = dimension.into(plain, value)
            given = {d.column: value_as_text(value) for d, value in zip(dimensions, values, strict=True)}
            given = {**({VARIANT: variant} if variant else {}), **given}
            try:
                asked = TrainConfig.from_dict(plain, source=source)
                if asked.dataset is not None:  # as the runs are going to note it
                    asked = asked.replace(dataset=full_name(asked.dataset))
                config = check_settings(asked)
            except UsageError as error:
                raise UsageError(f"with {described(given)}: {error}" if given else str(error)) from error
            text = {d.column: d.text(config) for d in dimensions}
            label = {**({VARIANT: variant} if variant else {}), **text}
            parts = [f"{_slug(names[column])}={_slug(value)}" for column, value in text.items()]
            name = _cut("-".join([*([_words(variant)] if variant else []), *parts]))
            if twin := found.get(name.casefold()):
                if (other := twin.label.get(VARIANT, "")) != variant:
                    raise UsageError(f"variants {other!r} and {variant!r} would have one folder. Rename one.")
                raise UsageError(f"two runs would be the same: {described(label)}. Leave one out.")
            found[name.casefold()] = Combination(label, name, asked, config)
    return list(found.values())


def described(label: Mapping[str, str], *, short: bool = False) -> str:
    """Return what a combination is, in a line: ``lr=0.01, option.dropout=0.5``; short, ``lr=0.01, dropout=0.5``."""
    names = short_names(label) if short else {column: column for column in label}
    return ", ".join(
        text if column == VARIANT else f"{names[column]}={text}" for column, text in label.items()
    )


def short_names(columns: Iterable[str]) -> dict[str, str]:
    """Return what each column is called for short: ``dropout`` for ``option.dropout``, unless two would be that."""
    short = {column: column.partition(".")[2] or column for column in columns}
    return {c: name if list(short.values()).count(name) == 1 else c for c, name in short.items()}


def value_as_text(value: object) -> str:
    """Return a setting's value as a person types it behind ``--vary``: ``0.01``, ``flip+crop``, ``none``."""
    if isinstance(value, list | tuple):
        return "+".join(map(value_as_text, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return "none" if value is None else str(value)


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others over them; in a mapping such as the model's options, name by name."""
    merged = {**settings}
    for key, value in changes.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = {**before, **value} if both else value  # type: ignore[dict-item]
    return merged


def _variant(name: object, changes: object) -> dict[str, Any]:
    """Return what a variant changes.

    Raises:
        UsageError: It is no group of settings with a name, or has one that no run can have its own of.
    """
    if changes is None:  # a name and nothing behind it: the settings as they are
        return {}
    if not isinstance(name, str) or not isinstance(changes, Mapping):
        raise UsageError(f"variant {shown(name)} has no settings. Write them below its name: lr: 0.1")
    if not (_words(name) or not name):
        raise UsageError(f"variant {shown(name)} names no folder. Give it a name of letters.")
    for setting in (*OF_THE_STUDY, "seed"):
        if setting in changes:
            raise UsageError(f"variant {name!r} sets {setting}, which is the whole study's. Leave it out.")
    return dict(changes)


def _split(text: str, *, joins: bool) -> list[str]:
    """Return the values in a text, between commas; ``+`` joins several to one, but for numbers and in quotes."""
    values = []
    place = 0
    while place <= len(text):
        match = _VALUE.match(text, place)
        if match is None:
            raise UsageError(
                f"cannot read the values {text!r}. Write each in quotes, with commas in between."
            )
        plain = match["plain"]
        if plain is None:
            values.append(match["double"] or match["single"] or "")
        else:
            plain = plain.strip()
            values.append(plain.replace("+", ",") if joins and not _is_number(plain) else plain)
        place = match.end() + (match.end() == len(text) and not match[0].endswith(","))
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@cache
def _spellings() -> dict[str, str]:
    """Return the field of each name by which a setting is known: its own and its flags'."""
    spellings: dict[str, str] = {}
    for field, annotation in field_types().items():
        setting = next(extra for extra in annotation.__metadata__ if isinstance(extra, Setting))
        flags = [flag.lstrip("-") for flag in setting.flags]
        for name in (field, field.replace("_", "-"), *flags, *(flag.replace("-", "_") for flag in flags)):
            spellings.setdefault(name, field)
    return spellings


def _bare(field: str) -> Any:  # noqa: ANN401
    """Return a field's type without its bounds and its help."""
    annotation = field_types()[field]
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _is_optional(field: str) -> bool:
    bare = _bare(field)
    return get_origin(bare) in (Union, UnionType) and type(None) in get_args(bare)


def _column(field: str) -> str:
    """Return what a setting that is a mapping is called in front of a name: ``option`` of the model's options."""
    setting = next(extra for extra in field_types()[field].__metadata__ if isinstance(extra, Setting))
    return setting.flags[-1].lstrip("-").replace("-", "_") if setting.flags else field


def _slug(text: str) -> str:
    """Return a text as a part of a file's name: as it is, or what can be kept of it and a checksum.

    Letters in capitals are such a change, too: some file systems do not tell them apart.
    """
    if re.fullmatch(r"[a-z0-9_.+-]{1,40}", text):
        return text
    return f"{_words(text)[-16:]}-{_checksum(text)}".lstrip("-")


def _words(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+]+", "-", text).strip("-.")


def _cut(name: str) -> str:
    return name if len(name) <= MAX_SIGNS else f"{name[: MAX_SIGNS - 9]}-{_checksum(name)}"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
