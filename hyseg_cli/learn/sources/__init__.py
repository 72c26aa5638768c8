"""Training and evaluation with labels of several legends."""
