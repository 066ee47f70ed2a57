"""Tables and the picture of ``cnnzoo compare``."""
