"""Exports of Weights & Biases, in which every run has columns of its own: made a table with a row for each run."""

import re
from dataclasses import replace

from cnnzoo.plain_csv import Row, Table
from cnnzoo.runs.histories.headings import meanings, measure_of
from cnnzoo.runs.histories.numbers import MISSING

# The run, the measure, and what W&B adds: of runs drawn as one, their lowest and highest value.
_OF_RUN = re.compile(r"(?P<run>.+) - (?P<measure>.+?)(?P<end>__MIN|__MAX)?").fullmatch


def by_run(table: Table) -> Table:
    """Return a table with the columns ``lenet-1 - val_loss``, ``lenet-2 - val_loss`` as one of run and val_loss.

    The first column is what the runs are drawn over. Another table is returned as it is.
    """
    found = [_OF_RUN(heading) for heading in table.header[1:]]
    columns = [(place, match) for place, match in enumerate(found, 1) if match and not match["end"]]
    measures = list(dict.fromkeys(match["measure"] for _, match in columns))
    if not all(found) or not any(measure_of(meanings(measure) or set()) for measure in measures):
        return table
    runs: dict[str, dict[str, int]] = {}
    for place, match in columns:
        runs.setdefault(match["run"], {})[match["measure"]] = place
    rows = []
    for run, places in runs.items():
        for row in table.rows:
            cells = [row.cells[places[measure]] if measure in places else "" for measure in measures]
            if any(cell.lower() not in MISSING for cell in cells):
                rows.append(Row(row.line, [row.cells[0], run, *cells]))
    return replace(table, header=[table.header[0], "run", *measures], rows=rows)
