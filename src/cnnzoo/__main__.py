"""``python -m cnnzoo``: the same as the ``cnnzoo`` command."""

from cnnzoo.cli import main

if __name__ == "__main__":
    main()
