"""Training: the loop, its state, and how a run is set up, resumed and told about."""
