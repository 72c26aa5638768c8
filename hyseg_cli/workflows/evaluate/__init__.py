"""What `hyseg evaluate` does."""
