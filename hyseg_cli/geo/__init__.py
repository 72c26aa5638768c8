"""Pixels and places: no torch, no click."""
