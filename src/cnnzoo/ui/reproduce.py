"""The result of a recipe, printed."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cnnzoo.ui.screen import out

if TYPE_CHECKING:
    from cnnzoo.analysis.reproduce.receipts import Receipt


def print_receipt(receipt: "Receipt", path: Path) -> None:
    """Print each seed's result, the verdicts, and where the receipt lies."""
    from cnnzoo.analysis.reproduce.receipts import WORDS

    console = out()
    metrics = receipt.metrics
    table = Table(box=None, pad_edge=False)
    for heading in ("seed", "val acc", *(WORDS[metric] for metric in metrics)):
        table.add_column(heading, justify="right")
    for result in receipt.seeds:
        values = (f"{getattr(result, metric):.2%}" for metric in metrics)
        table.add_row(str(result.seed), f"{result.val_acc:.2%}", *values)
    console.print(table)
    for judgement in receipt.judgements:
        target = judgement.target
        spread = "" if judgement.std is None else f", std {judgement.std:.2%}"
        console.print(
            f"{WORDS[target.metric]}: mean [bold]{judgement.mean:.2%}[/]{spread}, "
            f"95% interval {judgement.low:.2%} to {judgement.high:.2%}"
        )
        console.print(f"target {target.value:.2%}, within {target.tolerance:.2%}: {escape(target.source)}")
        console.print(f"[bold]{judgement.verdict}[/]")
    console.print(f"The receipt: {escape(str(path))}")
