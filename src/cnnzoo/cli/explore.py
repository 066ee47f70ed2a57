"""``cnnzoo explore``: a page in which a person sees pictures go through their own net."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import FoundDataDirOption, OwnDatasetOption, find_checkpoint
from cnnzoo.errors import CnnzooError


@app.command("explore", cls=GroupedCommand)
def explore_command(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run (its best.pt counts) or a .pt file [the newest run].",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Where to serve it; 0: a free one.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, or only print its address.")
    ] = True,
    dataset: OwnDatasetOption = None,
    data_dir: FoundDataDirOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    import_: ImportOption = None,
) -> None:
    """Open a page in which pictures go through a trained network, layer by layer.

    Draw, bring a picture or take a test image; click on any number to see how it came about; switch parts off; go
    through the epochs where --keep-epochs kept them. The page is served on this machine alone, to whoever has its
    address, and nothing is written. Ctrl-C ends it. Needs the extra: pip install 'cnnzoo[explore]'
    """
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise CnnzooError(
            f"explore needs {' and '.join(missing)}. Install what it needs: pip install 'cnnzoo[explore]'"
        )
    import_option(import_)
    checkpoint = find_checkpoint(run, out)
    from cnnzoo.analysis.explore.explorer import Explorer
    from cnnzoo.analysis.trained_net import load_net
    from cnnzoo.ui.explore.server import serve
    from cnnzoo.ui.screen import QuietScreen

    screen = QuietScreen()
    net = load_net(
        checkpoint, dataset=dataset, data_dir=data_dir, device=device, precision="fp32", reporter=screen
    )
    explorer = Explorer(net, screen)
    typer.echo(f"{checkpoint}: {net.saved.model}, epoch {net.saved.epoch}. Ctrl-C ends this.", err=True)
    serve(explorer, port, opens_browser=browser, announce=lambda address: print(address, flush=True))
