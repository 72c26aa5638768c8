"""A raster of a few pixels, traced to the end before the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.regions import find_regions
from hyseg_cli.geo.coverage.runs import ArrayRows, seams
from hyseg_cli.geo.coverage.trace import Generalisation, trace_polygons
from hyseg_cli.geo.coverage.wkb import to_wkb


def rehearse(*, smooth: bool, simplify: bool, check: bool) -> None:
    """Load the compiled kernels that tracing takes, by tracing a little.

    Each is read from the disk and linked when it is first called, for the most part without the
    interpreter's lock. In a thread of its own that is done while libraries load.
    """
    source = ArrayRows(np.array([[0, 1], [2, 2]], np.uint8), no_class=0)
    regions = find_regions(source, np.ones(source.height), Path())
    proof = Proof(seams(source.height)) if check else None
    for batch in trace_polygons(source, regions, Generalisation(smooth, float(simplify)), proof):
        to_wkb(batch.points, batch.ring_offsets, batch.polygon_offsets, reverse=True)
