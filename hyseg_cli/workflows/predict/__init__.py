"""What `hyseg predict` does."""
