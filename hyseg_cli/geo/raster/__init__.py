"""Input rasters: their properties, georeference and valid pixels."""
