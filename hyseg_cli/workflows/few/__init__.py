"""What `hyseg train` does with a few polygons, and `hyseg suggest`."""
