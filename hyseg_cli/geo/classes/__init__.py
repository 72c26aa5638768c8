"""Classes of a raster: names, colours, styles and counts."""
