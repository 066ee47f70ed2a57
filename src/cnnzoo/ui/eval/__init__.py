"""Tables and pictures of ``cnnzoo eval``; ``cnnzoo plot`` and ``cnnzoo report`` draw them too."""
