"""Print what a person reads at each fault, row by row: ``python -m tests.faults.messages``.

The tests of the rows provoke the messages, so that each is the real one. Rows without a message are left out.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnzoo.errors import CnnzooError
from cnnzoo.ui import screen
from tests.faults.test_rows_complete import rows_of
from tests.processes import Ended, Started

TESTS = Path(__file__).parents[1]

NO_MESSAGE = {1, 2, 3, 4, 9, 10, 11, 12, 13, 16, 24, 29, 30, 31, 41, 43, 48, 49, 50, 51}
"""Rows whose promise is that nothing is lost or different, so that there is nothing to say."""

MOST = 8
"""Messages of a row that are printed; there are that many of a kind only where each setting has its own."""


class Listener:
    """A plugin of pytest that notes every message by the row of the test in which it was made."""

    def __init__(self) -> None:
        self.messages: dict[int, dict[str, None]] = defaultdict(dict)
        self.rows: set[int] = set()

    def note(self, message: str) -> None:
        # Where the test ran is nobody's business, and would make one message many.
        message = re.sub(r"\S*/pytest-of-[^/]+/pytest-\d+/(popen-gw\d+/)?[^/\s:,'`]+/?", "…/", message)
        for row in self.rows:
            self.messages[row][re.sub(r"http://127\.0\.0\.1:\d+", "http://mirror", message)] = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if rows_of(item.name.partition("[")[0]) - NO_MESSAGE]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        self.rows = rows_of(item.name.partition("[")[0]) - NO_MESSAGE
        yield
        self.rows = set()

    def listen(self, patch: pytest.MonkeyPatch) -> None:
        """Have errors, warnings and what other processes print on stderr noted."""
        init, warn, wait = CnnzooError.__init__, screen.print_warning, Started.wait

        def noting_init(error: CnnzooError, *args: Any) -> None:
            init(error, *args)
            self.note(f"Error: {error}")

        def noting_warn(message: str) -> None:
            self.note(f"Warning: {message}")
            warn(message)

        def noting_wait(started: Started) -> Ended:
            ended = wait(started)
            for line in ended.err.splitlines():
                self.note(line)
            return ended

        patch.setattr(CnnzooError, "__init__", noting_init)
        patch.setattr(screen, "print_warning", noting_warn)
        patch.setattr(Started, "wait", noting_wait)


def main() -> None:
    """Run the tests of the rows, and print what was said."""
    listener = Listener()
    with pytest.MonkeyPatch.context() as patch:
        listener.listen(patch)
        code = pytest.main(
            ["-q", "-n", "0", "--no-header", "-k", "row_ or rows_", str(TESTS)], plugins=[listener]
        )
    for row in sorted(listener.messages):
        # What is part of a longer message was never printed by itself.
        said = [
            one
            for one in listener.messages[row]
            if not any(one != other and one[7:].rstrip(".") in other for other in listener.messages[row])
        ]
        more = [f"… and {len(said) - MOST} more"] if len(said) > MOST else []
        sys.stdout.write("".join(f"{row:>3}  {line}\n" for line in [*said[:MOST], *more]))
    sys.exit(code)


if __name__ == "__main__":
    main()
