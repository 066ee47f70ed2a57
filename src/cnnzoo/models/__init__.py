"""The networks: one file per family. Importing this package registers them all."""

from cnnzoo.models import alexnet, lenet, lenet5_1998

__all__ = ["alexnet", "lenet", "lenet5_1998"]
