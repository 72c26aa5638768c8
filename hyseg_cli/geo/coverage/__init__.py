"""Class raster -> arcs -> polygons that share their edges, strip by strip, out of core.

A polygon border is cut into *arcs* at the *junctions* where three or more regions meet. Each arc
is traced, smoothed and simplified once, and both neighbours use the same points, so the result is
a coverage by construction. GDAL's polygonizer drops the vertex where a straight side meets the
corner of two others, and whatever simplifies or reprojects its polygons opens slivers there.

`regions` labels the 4-connected regions (pass 1), `lattice` traces the arcs of a strip (pass 2),
`simplify` thins them, `rings` joins them to the rings of finished regions, `polygons` leads.
"""
