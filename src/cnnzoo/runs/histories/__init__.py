"""Histories as any tool writes them: ``read`` makes one row per epoch of a CSV file. The other modules serve it."""
