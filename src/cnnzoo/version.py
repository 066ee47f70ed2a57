"""The version, where nobody has to import the rest for it."""

__version__ = "0.1.0"
