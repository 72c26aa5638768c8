"""Linear probes: frozen tokens, one linear layer, and edges taken from the image."""
