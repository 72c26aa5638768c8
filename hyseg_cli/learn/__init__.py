"""Tensors and scores: no click."""
