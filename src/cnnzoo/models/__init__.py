"""The networks: one file per family. Importing this package registers them all."""

from cnnzoo.models import alexnet, lenet

__all__ = ["alexnet", "lenet"]
