"""Whether a run, the runs of a study, or a receipt is what it says."""

from pathlib import Path

from cnnzoo.analysis.verify.checks import Check
from cnnzoo.analysis.verify.files import verify_files
from cnnzoo.analysis.verify.images import verify_images
from cnnzoo.analysis.verify.receipts import verify_receipt
from cnnzoo.analysis.verify.replay import replay as replay_run
from cnnzoo.errors import UsageError
from cnnzoo.runs.folder import runs_of
from cnnzoo.runs.manifest import MANIFEST
from cnnzoo.training.reporter import Reporter

SAVED = ("last.pt", "best.pt", "history.csv")
"""Of which a run has one at least once it was saved."""


def verify(
    target: Path,
    *,
    replay: int | None = None,
    images: bool = True,
    dataset: str | None = None,
    data_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[Path, list[Check]]:
    """Check that a run or a receipt is what it says. Nothing is written there.

    Args:
        target: A run's folder, one that holds the runs of several seeds, or a receipt's JSON file.
        replay: Of a run in which nothing is found, how many of its first epochs to train again.
        images: Whether to check the images that it was trained on, too.
        dataset: Where a folder or a table of one's own lies now.
        data_dir: Where named datasets lie; by default where the run found them.
        reporter: Told of progress.

    Returns:
        What came of each check, by run or receipt.

    Raises:
        CnnzooError: There is nothing to check, or it cannot be trained again here.
    """
    if target.suffix == ".json":
        if replay:
            raise UsageError("--replay is for runs: a receipt holds no epochs. Its command trains it again.")
        return {target: verify_receipt(target)}
    runs = runs_of(target)
    begun = [run for run in runs if any((run / name).exists() for name in (*SAVED, MANIFEST))]
    checked = {run: verify_files(run) for run in begun or [target]}
    for run, checks in checked.items():
        if images:
            checks.extend(verify_images(run, dataset=dataset, data_dir=data_dir, reporter=reporter))
        if replay and not any(check.outcome == "changed" for check in checks):
            again = replay_run(run, replay, dataset=dataset, data_dir=data_dir, reporter=reporter)
            checks.extend(again)
    if begun:
        for run in runs:
            checked.setdefault(run, [Check("last.pt", "unknown", "nothing is saved of it yet")])
    return checked
