"""Comparison of runs by their test accuracy: ``cnnzoo compare``. No other room uses it."""
