"""Rasters that are read: what they are, where they lie, which pixels are valid."""
