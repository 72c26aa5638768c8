"""What `hyseg vectorize` does."""
