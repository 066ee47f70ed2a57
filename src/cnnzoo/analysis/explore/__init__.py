"""A trained network explored picture by picture: ``cnnzoo explore``. No other room uses it."""
