"""One computation at a time, in a thread that nobody waits for at the end, and of those that wait the newest."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

Answer = TypeVar("Answer")


class SupersededError(Exception):
    """A newer request of the same page has taken this one's place."""


class Turns:
    """Lets requests compute one after another.

    Of the requests of one page that wait, the newest alone is computed; the others end at once.

    Attributes:
        is_busy: Whether something is being computed.
    """

    def __init__(self) -> None:
        self.is_busy = False
        self._lock = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # One thread for all: each new one would start a team of OpenMP's of its own. A daemon: Ctrl-C does not wait.
        threading.Thread(target=self._compute, daemon=True, name="explore").start()

    async def take(self, who: str, work: Callable[[], Answer]) -> Answer:
        """Compute something, once it is its turn.

        Args:
            who: The page that asks, and for what: of these one waits at a time.
            work: What is to be computed.

        Raises:
            SupersededError: A newer request of the same has come.
        """
        loop = asyncio.get_running_loop()
        if older := self._waiting.pop(who, None):
            older.cancel()
        mine = self._waiting[who] = loop.create_future()
        locking = asyncio.ensure_future(self._lock.acquire())
        try:
            await asyncio.wait((mine, locking), return_when=asyncio.FIRST_COMPLETED)
            if mine.cancelled():
                raise SupersededError
        except BaseException:  # the page may be closed, too
            if not locking.cancel() and not locking.cancelled():
                self._lock.release()
            raise
        finally:
            if self._waiting.get(who) is mine:
                del self._waiting[who]
        try:
            return await self._computed(loop, work)
        finally:
            self._lock.release()

    async def _computed(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Answer]) -> Answer:
        answer: asyncio.Future[Answer] = loop.create_future()

        def settle(value: Answer | None, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(value)  # type: ignore[arg-type]

        def run() -> None:
            value, fault = None, None
            try:
                value = work()
            except Exception as error:
                fault = error
            self.is_busy = False
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(settle, value, fault)

        self.is_busy = True
        self._work.put(run)
        return await asyncio.shield(answer)

    def _compute(self) -> None:
        while True:
            self._work.get()()
