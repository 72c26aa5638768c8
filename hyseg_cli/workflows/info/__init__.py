"""What `hyseg info` and `hyseg models` do."""
