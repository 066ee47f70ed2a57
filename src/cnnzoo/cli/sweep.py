"""``cnnzoo sweep``: a run for each combination of settings."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cnnzoo.cli.app import GroupedCommand, app
from cnnzoo.cli.settings import (
    JobsOption,
    LogOption,
    QuietOption,
    given_settings,
    over,
    run_or_file,
    with_settings,
)
from cnnzoo.errors import UsageError


def _sweep(
    what: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG|MODEL", help="A YAML file of settings, or the network to train."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B",
            help="A setting and its values, such as lr=0.1,0.01 or option.dropout=0,0.5; + joins several to one "
            "value, as in augment=none,flip+crop. May be repeated: each value is trained with each of the others.",
            rich_help_panel="Run",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="So many runs of each combination, with seeds from --seed on [1].",
            rich_help_panel="Run",
        ),
    ] = None,
    jobs: JobsOption = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Begin this sweep anew, in another folder.", rich_help_panel="Run"),
    ] = False,
    log: LogOption = None,
    quiet: QuietOption = False,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Train a run for each combination of settings, in one folder; the same command again goes on.

    Settings are named as in a file or as flags. option.NAME is one of the model's, optimizer_option.NAME one of the
    optimizer's. Whatever is not varied is given as for `cnnzoo train`. A CONFIG may hold the sweep itself: values below
    `vary:`, and groups of settings with a name each below `variants:`. results.csv has a row for each run that has
    ended, results.png a line for each combination.
    """
    from cnnzoo.analysis.sweep.variations import dimensions_of, parse_vary
    from cnnzoo.cli.studies import train_study
    from cnnzoo.config_file import read_sweep
    from cnnzoo.ui.tracking import tracker_names

    trackers = tracker_names(log or ())

    is_file = what is not None and (Path(what).suffix in (".yaml", ".yml") or Path(what).is_file())
    base, varied, variants = read_sweep(Path(str(what))) if is_file else ({}, {}, {})
    given = given_settings({"model": None if is_file else what, **flags})
    typed = dimensions_of(parse_vary(vary or ()))
    for dimension in (*dimensions_of(varied), *typed):
        if dimension.field in given and (not dimension.entry or dimension.entry in given[dimension.field]):
            raise UsageError(f"{dimension.column} is varied, and given besides. Leave one of the two out.")
    settings = over(base, given)
    both = {each.column: each.values for each in (*dimensions_of(varied), *typed)}  # what is typed wins
    if not both and not variants and seeds is None:
        raise UsageError("nothing is varied. Add --vary lr=0.1,0.01 and the like, or --seeds 5.")
    if "weights" in both:
        out = Path(str(settings.get("out", "runs")))
        both["weights"] = [run_or_file(w, out) if isinstance(w, str) else w for w in both["weights"]]
    source = f"the settings in {what}" if is_file else "the settings"
    train_study(
        settings,
        both,
        variants,
        source=source,
        seeds=seeds,
        jobs=jobs,
        new=new,
        quiet=quiet,
        trackers=trackers,
    )


app.command("sweep", cls=GroupedCommand)(with_settings(_sweep))
