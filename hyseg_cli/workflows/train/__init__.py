"""What `hyseg train` does."""
