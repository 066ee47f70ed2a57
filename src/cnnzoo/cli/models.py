"""``cnnzoo models``: the networks that there are."""

from typing import Annotated, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option


@app.command("models", cls=GroupedCommand)
def models_command(
    format_: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Tables, or one JSON document on stdout.")
    ] = "table",
    import_: ImportOption = None,
) -> None:
    """List the networks: paper, input, parameters, multiply-adds (as `cnnzoo summary` counts them) and options.

    JSON is a list; each model has name, paper, year, input_size (channels, height, width), num_classes,
    parameters, mult_adds and options: by name what it takes and its default. Of torchvision's networks, year and
    mult_adds are null, as is what could not be counted.
    """
    import_option(import_)
    import json
    import sys

    from cnnzoo.analysis.summary.models import list_entries
    from cnnzoo.files import cache_folder
    from cnnzoo.ui.models import print_models
    from cnnzoo.ui.screen import print_warning

    entries = list_entries(cache_folder())
    if format_ == "json":
        typer.echo(json.dumps([entry.to_dict() for entry in entries], indent=2, default=str))
    else:
        print_models(entries)
    registry = sys.modules.get("cnnzoo.models.registry")
    for package, why in registry.broken_packages().items() if registry else ():
        print_warning(f"{package} failed to import: {why}. Its models are missing.")
    for entry in entries:
        if entry.fault:
            print_warning(f"{entry.name} is not counted: {entry.fault}")
