"""Images and labels: what datasets there are, where they lie, and how they become batches."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much is done and how much there is (bytes or images; 0: unknown)."""

Warn = Callable[[str], None]
"""Called with what a person must not overlook, found in the midst of something."""
