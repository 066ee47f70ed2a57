"""From the rows of a log to one row per epoch: steps, sessions, and validations that belong to no epoch."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class LoggedRow:
    """What one row of a log says of an epoch.

    Attributes:
        line: The line of the file that it is on.
        cells: What that has, as text.
        epoch: The epoch, as the file counts.
        step: The step, in the epoch or in the training; 0 if the file tells none.
        values: The measures that it holds, at least one.
        resumed: Whether the file's header was written once more just before it.
    """

    line: int
    cells: list[str]
    epoch: int
    step: float
    values: dict[str, float]
    resumed: bool = False

    @property
    def when(self) -> tuple[int, float]:
        """Where in the training it stands."""
        return self.epoch, self.step

    @property
    def trains(self) -> bool:
        """Whether it tells of training, and not of a validation alone."""
        return any(name.startswith("train") for name in self.values)

    @property
    def is_whole(self) -> bool:
        """Whether it tells of training and validation both."""
        return self.trains and any(name.startswith("val") for name in self.values)


Epochs = dict[int, dict[str, float]]
Session = list[LoggedRow]


def gather_epochs(
    rows: Sequence[LoggedRow], *, stepped: bool, averaged: Collection[str]
) -> tuple[Epochs, tuple[str, ...]]:
    """Make one row per epoch of what was logged.

    An epoch that begins again is one of a new session, which is counted on from the last. A validation
    before any training, or after all of it, is none of an epoch's, and is left out.

    Args:
        rows: What was logged, in the file's order.
        stepped: Whether the rows tell their step.
        averaged: Measures that are given step by step: an epoch has their mean. Of the others it has the last.

    Returns:
        The measures by the epoch's number, which is that of the file in the first session; and what was
        assumed, a phrase each.
    """
    notes: list[str] = []
    stepped &= len({row.step for row in rows}) > 1  # a batch of 64 in every row is no step
    if not stepped and _has_several_rows_an_epoch(rows):
        stepped = True
        rows = [replace(one, step=at, resumed=False) for at, one in enumerate(rows)]
    elif len({row.epoch for row in rows}) == 1 and all(row.is_whole for row in rows):
        # All of epoch 0, training and validation side by side: fits of an epoch each, not steps.
        rows = [replace(one, step=0) for one in rows]
    left_out: list[int] = []
    if stepped and not any(row.trains for row in rows):
        idle = _idle_alone(rows)
        left_out += [row.line for row, without in zip(rows, idle, strict=True) if without]
        rows = [row for row, without in zip(rows, idle, strict=True) if not without]
    sessions = _split(rows, notes)
    means: set[str] = set()
    epochs: Epochs = {}
    for session in sessions:
        kept = session
        if any(row.trains for row in session):
            is_idle = _idle_steps(session) if stepped else _idle_epochs(session)
            kept = [row for row, idle in zip(session, is_idle, strict=True) if not idle]
            left_out += [row.line for row, idle in zip(session, is_idle, strict=True) if idle]
        logged: dict[int, dict[str, list[float]]] = {}
        for row in kept:
            for name, value in row.values.items():
                logged.setdefault(row.epoch, {}).setdefault(name, []).append(value)
        # Counted on from the last session's last epoch, which is in the sorted order the largest.
        moved = max(epochs) + 1 - min(logged) if epochs else 0
        for epoch in sorted(logged):
            measured = logged[epoch]
            means |= {name for name in measured if name in averaged and len(measured[name]) > 1}
            epochs[epoch + moved] = {
                name: sum(values) / len(values) if name in averaged else values[-1]
                for name, values in measured.items()
            }
    if means:
        is_are = "is the mean" if len(means) == 1 else "are the means"
        notes.append(f"{' and '.join(sorted(means))} {is_are} of an epoch's rows")
    if len(sessions) > 1:
        begins = _lines([session[0].line for session in sessions[1:]])
        notes.append(
            f"the epochs begin again in {begins}: counted on, as {len(sessions)} sessions of one training"
        )
    if left_out:
        notes.append(
            f"the validation in {_lines(left_out)} belongs to no epoch of the training, and is left out"
        )
    return epochs, tuple(notes)


def whole_epochs(rows: Sequence[LoggedRow]) -> list[LoggedRow]:
    """Return rows whose epochs are fractions with the epoch in which each was, counted from 1.

    Training logged at 0.5, 1.0 and 1.5 was in the epochs 1, 1 and 2. Where it is logged from 0.0 on, as
    epoch + batch / batches, 1.0 is the first batch of epoch 2, and a validation there is still that of epoch 1.

    Args:
        rows: Their steps are thousandths of an epoch.
    """
    trained = [row.step / 1000 for row in rows if row.trains]
    at_start = 0 in trained and max(trained) % 1 > 0
    return [
        replace(row, epoch=math.floor(row.step / 1000) + 1)
        if at_start and row.trains
        else replace(row, epoch=max(math.ceil(row.step / 1000 - 1e-3), int(row.trains)))
        for row in rows
    ]


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
    return f"line {shown}" if len(numbers) == 1 else f"lines {shown}"


def _has_several_rows_an_epoch(rows: Sequence[LoggedRow]) -> bool:
    """Whether the training of every epoch, but perhaps the last, stands in several rows, as if each were a step.

    A row that has a validation, too, is an epoch's: fastai's ``fine_tune`` writes epoch 0 twice, then 1, 2, 3.
    """
    training = [row for row in rows if row.trains]
    epochs = [row.epoch for row in training]
    counts = Counter((name, row.epoch) for row in training for name in row.values if name.startswith("train"))
    repeated = {epoch for (_, epoch), count in counts.items() if count > 1}
    return (
        len(repeated) > 1
        and repeated >= set(epochs) - {epochs[-1]}
        and epochs == sorted(epochs)
        and not any(row.resumed for row in rows)
        and not all(row.is_whole for row in training)
    )


def _split(rows: Sequence[LoggedRow], notes: list[str]) -> list[Session]:
    """Part the rows where the epochs begin again; a resumed run's take the place of those it trains again."""
    validates_alone = not any(row.trains for row in rows)
    leads = [row.trains or validates_alone for row in rows]
    following: list[LoggedRow | None] = []  # the next row that tells of training
    after: LoggedRow | None = None
    for row, lead in zip(reversed(rows), reversed(leads), strict=True):
        following.append(after)
        after = row if lead else after
    following.reverse()
    again = _come_again([row for row, lead in zip(rows, leads, strict=True) if lead])
    sessions: list[Session] = [[]]
    seen: set[tuple[tuple[int, float], str]] = set()
    last: LoggedRow | None = None

    def begins(row: LoggedRow) -> bool:
        return last is not None and (
            row.when < last.when or any((row.when, name) in seen for name in row.values)
        )

    for row, lead, after in zip(rows, leads, following, strict=True):
        if row.resumed and last is not None and sessions[-1][0].epoch < row.epoch <= last.epoch:
            sessions[-1] = [one for one in sessions[-1] if one.epoch < row.epoch]
            seen = {key for key in seen if key[0][0] < row.epoch}
            notes.append(f"from line {row.line} on, a resumed run takes the place of what it trained again")
        elif (
            again
            and begins(row)
            # A validation begins a session only together with the training of its epoch that follows.
            and (
                lead
                or (
                    after is not None
                    and after.epoch == row.epoch
                    and row.step <= after.step
                    and begins(after)
                )
            )
        ):
            sessions.append([])
            seen, last = set(), None
        sessions[-1].append(row)
        seen |= {(row.when, name) for name in row.values}
        last = row if lead else last
    return sessions


def _come_again(rows: Sequence[LoggedRow]) -> bool:
    """Whether an epoch is measured a second time; if not, a file with its epochs in any order is one session."""
    measured: set[tuple[tuple[int, float], str]] = set()
    left: set[tuple[int, str]] = set()
    current: dict[str, int] = {}
    for row in rows:
        for name in row.values:
            if current.setdefault(name, row.epoch) != row.epoch:
                left.add((current[name], name))
                current[name] = row.epoch
            if (row.when, name) in measured or (row.epoch, name) in left:
                return True
            measured.add((row.when, name))
    return False


def _idle_alone(rows: Sequence[LoggedRow]) -> list[bool]:
    """Return which rows, where nothing of the training was logged, validate again what the last one did.

    Epochs of a single step cannot be told from that: then none is.
    """
    one_step = max(row.step for row in rows) < len(rows)
    validated: dict[str, float] = {}
    idle: list[bool] = []
    for row in rows:
        again = all(name in validated and 0 <= row.step - validated[name] <= 1 for name in row.values)
        idle.append(not one_step and (row.step == 0 or again))
        validated |= dict.fromkeys(row.values, row.step)
    return idle


def _idle_steps(session: Session) -> list[bool]:
    """Return which rows are validations with no step of training before them, or since the last validation."""
    last_lead = max(index for index, row in enumerate(session) if row.trains)
    first_step = next(row.step for row in session if row.trains)
    trained = -1.0
    validated: dict[str, float] = {}
    idle: list[bool] = []
    for index, row in enumerate(session):
        if row.trains:
            trained = max(trained, row.step)
            idle.append(False)
        elif trained < 0:
            idle.append(row.step == 0 < first_step)  # Lightning's sanity check, or a validate before the fit
        else:
            # Lightning counts the step of a validation after the training from 0 in one version, from 1 in another.
            idle.append(
                index > last_lead
                and all(
                    name in validated and validated[name] >= trained and row.step <= validated[name] + 1
                    for name in row.values
                )
            )
        if not idle[-1]:
            validated |= {name: row.step for name in row.values if name.startswith("val")}
    return idle


def _idle_epochs(session: Session) -> list[bool]:
    """Return which rows, in a file that tells no steps, are validations after the last epoch of training."""
    trained = {row.epoch for row in session if row.trains}
    last_lead = max(index for index, row in enumerate(session) if row.trains)
    last_epoch = max(row.epoch for row in session)
    validated: set[tuple[int, str]] = set()
    idle: list[bool] = []
    for index, row in enumerate(session):
        measured = {(row.epoch, name) for name in row.values}
        idle.append(
            index > last_lead
            and row.epoch == last_epoch
            and (row.epoch == max(trained) + 1 or measured <= validated)
        )
        validated |= measured
    return idle
