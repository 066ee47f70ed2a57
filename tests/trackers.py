"""What trackers were told, read back: ``python -m tests.trackers NAME FOLDER`` prints it as JSON.

It is a program, since those libraries warn of this and that, and warnings are errors in tests.
"""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def tensorboard(folder: Path) -> dict[str, Any]:
    """Read the event files of the run in ``runs/r``."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "runs/r/tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    return {
        "told": [
            [event.step, name, event.value] for name in tags["scalars"] for event in events.Scalars(name)
        ],
        "pictures": tags["images"],
        "config": "lr: 0.001"
        in events.Tensors("config/text_summary")[-1].tensor_proto.string_val[0].decode(),
    }


def mlflow(folder: Path) -> dict[str, Any]:
    """Read the one run in a store of SQLite."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("cnnzoo")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return {
        "told": [
            [metric.step, name, metric.value]
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        ],
        "pictures": [file.path for file in client.list_artifacts(run.info.run_id)],
        "config": run.data.params["lr"] == "0.001",
    }


def wandb(folder: Path) -> dict[str, Any]:
    """Read what ``wandb sync`` would send, in the order of the sessions: all of one and the same run."""
    files = sorted((folder / "runs/r/wandb").glob("offline-run-*/*.wandb"))
    records = [record for file in files for record in _records(file)]
    assert len({file.name for file in files}) == 1
    steps = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    plain = [{k: v for k, v in step.items() if not k.startswith("_")} for step in steps]
    assert all(step["_step"] == step["epoch"] for step in steps)
    summary = [item for record in records if record.HasField("summary") for item in record.summary.update]
    config = {
        (item.key or item.nested_key[0]): json.loads(item.value_json)
        for record in records
        if record.HasField("run")
        for item in record.run.config.update
    }
    return {
        "told": [
            [step["epoch"], name, value] for step in plain for name, value in step.items() if name != "epoch"
        ],
        "pictures": [item.key or item.nested_key[0] for item in summary if "image-file" in item.value_json],
        "config": config["lr"] == 0.001,
    }


def _records(file: Path) -> Iterator[Any]:
    """Yield the records of a file of W&B's: a log as LevelDB has it, of protocol buffers, behind seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data, place, parts = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield Record.FromString(parts)
            parts = b""


if __name__ == "__main__":
    print(
        json.dumps(
            {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}[sys.argv[1]](Path(sys.argv[2]))
        )
    )
