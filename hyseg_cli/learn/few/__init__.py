"""Learning from a few polygons: features once, a linear head, and what to expect of it."""
