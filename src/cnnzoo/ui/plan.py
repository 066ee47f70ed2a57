"""What a person sees of a run that is only planned, and of a learning-rate range test."""

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from cnnzoo.ui.bench import MACHINE_IS_BUSY
from cnnzoo.ui.chart import WIDEST, axis_line, chart
from cnnzoo.ui.screen import header_rows, out, print_rows
from cnnzoo.ui.style import BLUE, import_matplotlib, picture_style, picture_text

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from cnnzoo.analysis.plan import Plan
    from cnnzoo.config import TrainConfig


def print_plan(plan: "Plan", seeds: int | None, picture: "Path | None") -> None:
    """Print what a run is going to be.

    Args:
        plan: Of one run.
        seeds: How many such runs there are to be, if it is a study.
        picture: Where the learning rate was drawn, if it was.
    """
    console = out()
    it, config = plan.description, plan.config
    rows = header_rows(it)
    accumulated = f" of {config.grad_accum_steps} batches" if config.grad_accum_steps > 1 else ""
    rows["steps"] = (
        f"{it.num_steps:,} per epoch{accumulated}, {plan.num_steps:,} in {_epochs(plan.epochs)}, "
        f"{it.batch_size:,} images per batch"
    )
    rows["optimizer"] = ", ".join(part for part in (it.optimizer, it.optimizer_note) if part)
    rows["lr"] = describe_schedule(config)
    per_epoch = plan.train_seconds + plan.val_seconds
    rows["time"] = (
        f"about {duration(plan.seconds)}, {duration(per_epoch)} per epoch ({duration(plan.train_seconds)} of training, "
        f"{duration(plan.val_seconds)} of validation)"
    )
    if plan.threads < plan.usual_threads:
        rows["time"] += (
            f", with {plan.threads} thread of {plan.usual_threads}, as training goes on while the machine is busy"
        )
    if config.patience is not None:
        rows["time"] += f"; less if {config.patience} epochs bring no better one"
    memory = [_bytes(plan.memory)] if plan.memory else []
    if plan.device_memory is not None:
        memory.append(f"{_bytes(plan.device_memory)} on {it.device}")
    if memory:
        rows["memory"] = f"about {', '.join(memory)}"
    if seeds is not None:
        last = config.seed + seeds - 1
        rows["runs"] = (
            f"{seeds}, seeds {config.seed} to {last}: about {duration(seeds * plan.seconds)} one after another"
        )
    print_rows(console, rows)
    if not plan.is_steady:
        console.print(f"[bold]{MACHINE_IS_BUSY}[/] Plan again when other programs have ended.")
    _print_schedule(console, plan)
    if picture is not None:
        console.print(f"Learning rate over the run: {escape(str(picture))}")
        console.print("Nothing else was written.")
    else:
        console.print("Nothing was written.")


def _print_schedule(console: Console, plan: "Plan") -> None:
    rates = [rate for _, rate in plan.schedule]
    if not console.is_terminal or max(rates) == min(rates):
        return
    high = f"{max(rates):.3g}"
    width = min(WIDEST, console.width - len(high) - 2)
    console.print()
    # A pause at nothing is drawn as nothing: the axis is that of the largest rate and 0.
    lines = chart(console, [*rates, 0.0], width, 4)
    for number, line in enumerate(lines):
        console.print(f"{high if number == 0 else '':>{len(high)}} {line}", markup=False)
    console.print(f"{'':>{len(high)}} {axis_line(width, 'epoch 1', f'epoch {plan.description.epochs}')}")
    console.print()


def describe_schedule(config: "TrainConfig") -> str:
    """Return in words how the learning rate goes over a run."""
    factor = f"times {config.lr_factor:g}"
    after = ", ".join(f"{milestone:,}" for milestone in config.milestones)
    course = {
        "none": "constant",
        "cosine": "along half a cosine to 0",
        "step": f"{factor} after each third",
        "plateau": f"{factor} after {config.plateau_epochs} epochs without a better one, which nobody can foresee",
        "milestones": f"{factor} after {config.milestone_unit} {after}",
    }[config.scheduler]
    rise = f", rising from 0 over {_epochs(config.warmup_epochs)} first" if config.warmup_epochs else ""
    return f"{config.lr:g}, {course}{rise}"


def duration(seconds: float) -> str:
    """Return a time as people say it: ``4.1 s``, ``3 min 25 s``, ``2 h 5 min``, ``3 d 2 h``."""
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    units = ((3600, 60, "min", 1, "s"), (86400, 3600, "h", 60, "min"), (math.inf, 86400, "d", 3600, "h"))
    name, whole, rest, rest_name = next(
        (name, *divmod(round(seconds / part), unit // part), part_name)
        for end, unit, name, part, part_name in units
        if seconds < end - part / 2
    )
    return f"{whole} {name} {rest} {rest_name}" if rest else f"{whole} {name}"


def _bytes(number: int) -> str:
    """Return a size in two digits, since it is an estimate."""
    return decimal(int(float(f"{number:.2g}")), precision=0 if number >= 10_000_000 else 1)


def _epochs(number: float) -> str:
    return f"{number:,.3g} epoch{'' if number == 1 else 's'}"


def plot_schedule(plan: "Plan") -> "Figure":
    """Draw the learning rate against epochs."""
    import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    config = plan.config
    with picture_style():
        figure = Figure((7, 4), layout="constrained")
        axes = figure.subplots()
        done, rates = zip(*plan.schedule, strict=True)
        # A rate holds for a step: a fall is a step down, and not a slope.
        axes.step([*done, plan.epochs], [*rates, rates[-1]], where="mid", color=BLUE)
        axes.set_xlim(0, plan.epochs)
        axes.set_ylim(0, 1.08 * max(rates))
        axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10]))
        axes.set_xlabel("epochs done")
        axes.set_ylabel("learning rate")
        axes.grid(alpha=0.25)
        title = f"{config.model} on {plan.description.dataset} · {plan.num_steps:,} steps"
        figure.suptitle(picture_text(title, 80))
        axes.set_title(picture_text(describe_schedule(config), 110), fontsize="small")
    return figure
