"""``cnnzoo verify``: whether a run, or a receipt, is what it says."""

from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import FoundDataDirOption, OwnDatasetOption


@app.command("verify", cls=GroupedCommand)
def verify_command(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="RUN|RECEIPT", help="Runs, folders of several seeds, or receipts (.json)."),
    ],
    replay: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Train the first N epochs again too, and compare [none]."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Check the images that it was trained on, too.")
    ] = True,
    dataset: OwnDatasetOption = None,
    data_dir: FoundDataDirOption = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    import_: ImportOption = None,
) -> None:
    """Check that a run is what it says: nothing in its files or its images was changed.

    Exit code 1 where something was. Who changes a file and manifest.json alike is not found: it is a checksum, no
    signature.
    """
    from cnnzoo.analysis.verify.verify import verify
    from cnnzoo.runs.folder import resolve_run
    from cnnzoo.ui.screen import Screen
    from cnnzoo.ui.verify import print_checks

    import_option(import_)
    screen = Screen()
    failed = False
    try:
        for target in targets:
            checked = verify(
                Path(target) if target.endswith(".json") else resolve_run(target, out),
                replay=replay,
                images=images,
                dataset=dataset,
                data_dir=data_dir,
                reporter=screen,
            )
            screen.close()
            for what, checks in checked.items():
                print_checks(what, checks)
                failed = failed or any(check.outcome == "changed" for check in checks)
    finally:
        screen.close()
    if failed:
        raise typer.Exit(1)
