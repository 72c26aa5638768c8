"""A model as a file: its card, its weights, and whether a scene fits it."""
