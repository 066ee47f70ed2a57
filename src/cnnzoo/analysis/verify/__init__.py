"""Verification of a run, a study or a receipt: ``cnnzoo verify``. No other room uses it."""
