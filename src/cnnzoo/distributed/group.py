"""The processes that train one net together: how they meet, what they tell each other, and how they part."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import timedelta
from hashlib import sha256
from typing import TypeVar
from uuid import uuid4

import torch
from torch import distributed as dist
from torch import nn
from torch._C._distributed_c10d import Store
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from cnnzoo.device import device_name
from cnnzoo.distributed.failures import END_SECONDS, comes_true, with_one_voice
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.signals import interrupts_end_at_once

T = TypeVar("T")

GROUP_TIMEOUT = timedelta(days=1)
"""How long the processes wait for each other: one of them may read a large dataset. That one is gone, they notice."""

TALK_SECONDS = 0.5
"""About how long the processes train between two questions whether one of them was asked to stop."""


class Group:
    """The processes that train a net together, seen from one of them; this class is one that is alone.

    Attributes:
        rank: Which one this is, from 0. The first has the run's folder and the screen.
        world_size: How many there are.
        local_rank: Which one this is on its machine.
        local_world_size: How many there are on this machine.
        backend: What carries their messages.
    """

    rank = local_rank = 0
    world_size = local_world_size = 1
    backend = ""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that has the run's folder and the screen."""
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        """Return what each process has, by rank. All of them have to ask."""
        return [value]

    def broadcast(self, make: Callable[[], T]) -> T:
        """Return to all of them what the first process makes; the others make nothing."""
        return make()

    @contextmanager
    def first_on_machine(self) -> Iterator[None]:
        """Do the block once on each machine, and then in its other processes, which find what the first has fetched."""
        yield

    def begin_phase(self) -> None:
        """Begin anew with the pace at which ``agree`` talks: the steps to come take another time."""

    def agree(self, answer: int | None) -> int | None:
        """Return what all processes have alike of their answers at a step: the largest, None while they do not talk."""
        return answer

    def device_name(self, name: str) -> str:
        """Return the name of this process's device, where ``name`` was asked for."""
        return name

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return a network whose backward pass leaves the mean of all processes' gradients in each.

        Batch normalisation is over all their images, but for the CPU.
        """
        return network

    def broadcast_buffers(self, network: nn.Module) -> None:
        """Give every process the first one's running statistics."""

    def sync(self, network: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        """Return a context in which the backward pass of ``wrap`` averages gradients only if ``enabled``."""
        return nullcontext()


ALONE = Group()

_CURRENT: ContextVar[Group] = ContextVar("process_group", default=ALONE)


def current() -> Group:
    """Return the processes that this one has joined; ALONE outside of ``process_group``."""
    return _CURRENT.get()


@contextmanager
def process_group() -> Iterator[Group]:
    """Join the other processes, if ``$WORLD_SIZE`` says that there are any; an error within is told by one of them.

    Raises:
        CnnzooError: They cannot find each other, or one of them is gone.
        AlreadyToldError: This process ends with an error that another one tells.
    """
    if current() is not ALONE or _from_environment("WORLD_SIZE", 1) == 1:
        yield current()
        return
    processes = _TorchGroup()
    token = _CURRENT.set(processes)
    try:
        yield processes
        processes.leave(together=True)
    except BaseException as error:
        told = with_one_voice(error, processes.store, is_first=processes.is_first, leave=processes.leave)
        if told is error:
            raise
        raise told from error
    finally:
        _CURRENT.reset(token)


class _TorchGroup(Group):
    """One of several processes, in torch's process group."""

    def __init__(self) -> None:
        self.rank = _from_environment("RANK")
        self.world_size = _from_environment("WORLD_SIZE")
        self.local_rank = _from_environment("LOCAL_RANK", 0)
        self.local_world_size = _from_environment("LOCAL_WORLD_SIZE", 1)
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        self.accelerator = accelerator.type if accelerator and accelerator.type in ("cuda", "xpu") else None
        self.backend = "gloo"
        if self.accelerator:
            torch.accelerator.set_device_index(self.local_rank % torch.accelerator.device_count())
            self.backend = (
                f"cpu:gloo,{self.accelerator}:{dist.get_default_backend_for_device(self.accelerator)}"
            )
        try:
            # At once, by the system's own answer: while torch waits for the others, Python hears of no signal.
            with interrupts_end_at_once(), _gloo_unheard():
                store, _, _ = next(iter(rendezvous("env://")))
                self.store = PrefixStore(_meet(store, self.rank, self.world_size), store)
                dist.init_process_group(
                    self.backend,
                    store=self.store,
                    rank=self.rank,
                    world_size=self.world_size,
                    timeout=GROUP_TIMEOUT,
                )
        except (ValueError, RuntimeError) as error:
            raise CnnzooError(
                f"the {self.world_size} processes cannot reach each other ({one_line(error)}). Start them with "
                "torchrun; over several machines, GLOO_SOCKET_IFNAME names the network to use."
            ) from error

    def leave(self, *, together: bool) -> None:
        """Close the connections to the others, who then notice if they expected more.

        Args:
            together: Not before all others want to, for with its connection goes what they have not read yet.
        """
        if together:
            with suppress(RuntimeError):  # the store has gone with the last of them
                self.store.add("done", 1)
                comes_true(
                    lambda: self.store.add("done", 0) == self.world_size or self.store.check(["told"]),
                    END_SECONDS,
                )
        if dist.is_initialized():
            with suppress(RuntimeError):
                dist.destroy_process_group()

    def all_gather(self, value: T) -> list[T]:
        values: list[T | None] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # all of them are filled

    def broadcast(self, make: Callable[[], T]) -> T:
        values = [make() if self.is_first else None]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]  # type: ignore[return-value]

    @contextmanager
    def first_on_machine(self) -> Iterator[None]:
        if self.local_rank > 0:
            self.all_gather(None)
        yield
        if self.local_rank == 0:
            self.all_gather(None)

    def begin_phase(self) -> None:
        self.talked_at, self.steps_between, self.steps_left = time.perf_counter(), 1, 1

    def agree(self, answer: int | None) -> int | None:
        """They talk at the same steps, so many apart that about TALK_SECONDS pass."""
        self.steps_left -= 1
        if self.steps_left:
            return None
        a_step = (time.perf_counter() - self.talked_at) / self.steps_between
        talks = self.all_gather((answer, int(TALK_SECONDS / a_step)))
        self.talked_at = time.perf_counter()
        self.steps_between = self.steps_left = max(1, min(steps for _, steps in talks))
        return max((given for given, _ in talks if given is not None), default=None)

    def device_name(self, name: str) -> str:
        kind = device_name(name)
        if kind == "auto":
            kind = self.accelerator or "cpu"
        if kind == "mps" or ":" in kind:
            raise UsageError(
                f"{self.world_size} processes cannot share the device {name!r}: each takes its own. "
                "Use --device auto, cuda, xpu or cpu."
            )
        if kind != self.accelerator:
            return kind  # the CPU, or one that is not here
        if self.local_world_size > (num := torch.accelerator.device_count()):
            raise CnnzooError(
                f"{self.local_world_size} processes on a machine with {num} device(s). "
                f"Start one for each, or use --device cpu."
            )
        return f"{kind}:{self.local_rank}"

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        if device.type != "cpu":  # torch has no such layer for the CPU
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place
        return DistributedDataParallel(
            network,
            device_ids=None if device.type == "cpu" else [device],
            gradient_as_bucket_view=True,  # no copy of them
            # A hook may leave out what some parameters have made, as that does which takes a net's logits.
            find_unused_parameters=any(module._forward_hooks for module in network.modules()),
        )

    def broadcast_buffers(self, network: nn.Module) -> None:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)

    def sync(self, network: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        assert isinstance(network, DistributedDataParallel)
        return nullcontext() if enabled else network.no_sync()


@contextmanager
def _gloo_unheard() -> Iterator[None]:
    """Keep from stdout what Gloo prints there with torch before 2.13, where other programs read what we print."""
    with suppress(OSError, ValueError):  # nobody reads it any more
        sys.stdout.flush()
    try:
        shown = os.dup(1)
    except OSError:  # it was closed before we began
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(shown, 1)
        os.close(shown)


def _meet(store: Store, rank: int, world_size: int) -> str:
    """Return a name that these processes have for their meeting, and none before them had.

    torchrun keeps the store over restarts, with all that those left there who are gone, and its processes on several
    machines do not agree on how often it has restarted. So each leaves a word of its own, the first one makes the
    name of all words, and the meeting begins when all have found theirs in it.
    """
    mine = uuid4().hex
    store.set(f"word {rank}", mine)
    while True:
        if rank == 0:
            name = " ".join(store.get(f"word {each}").decode() for each in range(world_size))
            store.set("name", name)
        else:
            name = store.get("name").decode()
        if mine in name:
            store.set(f"{name} {rank}", "")
            if store.check([f"{name} {each}" for each in range(world_size)]):
                return sha256(name.encode()).hexdigest()
        time.sleep(0.02)


def _from_environment(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UsageError(
            f"${name} is {text!r} and should be a number, as torchrun sets it. Start with torchrun, "
            "or unset WORLD_SIZE to train in one process."
        )
    return int(text)
