"""What a verification found: a line for each thing that was looked at."""

from collections.abc import Sequence
from pathlib import Path

from cnnzoo.analysis.verify.checks import Check
from cnnzoo.ui.page import Page

MARKS = {"ok": "✓", "changed": "✗", "unknown": "?"}
STYLES = {"ok": "", "changed": "bold red", "unknown": "yellow"}


def print_checks(target: Path, checks: Sequence[Check]) -> None:
    """Print what was checked of a run or a receipt, and what all of it comes to."""
    page = Page()
    page.line(str(target), "bold")
    for check in checks:
        page.line(f"{MARKS[check.outcome]} {check.what}: {check.text}.", STYLES[check.outcome])
    changed = sum(check.outcome == "changed" for check in checks)
    unknown = sum(check.outcome == "unknown" for check in checks)
    if changed:
        page.line(f"{changed} of {len(checks)} checks failed.", "bold red")
    elif unknown:
        page.line(f"Nothing is found; {unknown} of {len(checks)} checks could not be made.", "bold")
    else:
        page.line(f"All {len(checks)} checks hold." if len(checks) > 1 else "It holds.", "bold")
