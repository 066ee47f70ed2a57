"""Start ``cnnzoo`` in several processes on this machine."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from uuid import uuid4

from cnnzoo.errors import CnnzooError
from cnnzoo.machine import cpu_count
from cnnzoo.signals import WARNINGS, stops_answered_by


def launch(num_processes: int, arguments: Sequence[str]) -> int:
    """Run ``cnnzoo ARGUMENTS`` in several processes on this machine, by torch's launcher; return their exit code.

    Raises:
        CnnzooError: They were killed before one of them could say a word.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable()  # the launcher's: the processes tell of their end themselves
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_count() // num_processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        signals_to_handle="SIGTERM,SIGINT,SIGQUIT",
    )

    def forward(number: int) -> None:
        # As torch answers its own, but once: a second one would leave the processes alone while they save.
        if not forwarded:
            forwarded.append(number)
            raise SignalException(f"signal {number}", signal.Signals(number))

    forwarded: list[int] = []
    try:
        with stops_answered_by(forward, WARNINGS):
            # -P: a file in this folder must not pass for a module.
            elastic_launch(config, sys.executable)("-P", "-m", "cnnzoo", *arguments)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        codes = [failure.exitcode for failure in failed.failures.values()]
        if max(codes) < 0:
            killer = signal.Signals(-failed.get_first_failure()[1].exitcode)
            why = ", perhaps for want of memory" if killer == signal.SIGKILL else ""
            raise CnnzooError(
                f"a process of this training was ended by {killer.name}{why}. Go on by the same command with "
                "--resume, or with --name and --resume auto."
            ) from failed
        return next(code for code in codes if code > 0)
    return 0
