"""The proof finds every kind of defect."""

import numpy as np
import pytest
from geo.coverage.coverages import blobs, regions_of

from hyseg_cli.geo.coverage import trace as polygons
from hyseg_cli.geo.coverage.lattice import Arcs
from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.runs import seams
from hyseg_cli.geo.coverage.trace import Generalisation, trace_polygons


def arcs(*lines):
    """Arcs from lists of points in half pixels, with region 1 on the left and 2 on the right."""
    points = np.array([point for line in lines for point in line], np.int32)
    offsets = np.cumsum([0] + [len(line) for line in lines])
    count = len(lines)
    nodes, headings = np.zeros(count, np.int64), np.zeros(count, np.int8)
    return Arcs(
        offsets,
        points[:, 0].copy(),
        points[:, 1].copy(),
        np.full(count, 1, np.int32),
        np.full(count, 2, np.int32),
        nodes,
        nodes,
        headings,
        headings,
    )


def conflicts(*lines):
    proof = Proof(seams(100))
    proof.add_arcs(arcs(*lines), -1, 200, 100)
    return proof.conflicts


@pytest.mark.parametrize(
    "lines",
    [
        ([(0, 0), (10, 10)], [(0, 10), (10, 0)]),
        ([(0, 0), (100, 3)], [(50, 0), (51, 100)]),
        ([(0, 0), (10, 0)], [(5, 0), (5, 7)]),
        ([(0, 0), (10, 0)], [(4, 0), (6, 0)]),
        ([(0, 0), (10, 0)], [(10, 0), (0, 0)]),
        ([(0, 0), (10, 10), (10, 0), (0, 10)],),
    ],
    ids=["crossing", "crossing far apart", "T-touch", "overlap", "twice", "within one arc"],
)
def test_edges_that_meet_but_at_their_ends_are_found(lines):
    assert conflicts(*lines) > 0


@pytest.mark.parametrize(
    "lines",
    [
        ([(0, 0), (10, 10)], [(10, 10), (20, 0)], [(10, 10), (10, 30)]),
        ([(0, 0), (10, 0)], [(10, 0), (20, 0)]),
        ([(0, 0), (10, 0)], [(0, 2), (10, 2)]),
        ([(0, 0), (10, 0)], [(12, 0), (20, 0)]),
        ([(0, 0), (100, 3)], [(50, 2), (51, 100)]),
    ],
    ids=["a junction", "one line", "parallel", "apart", "just missed"],
)
def test_edges_that_only_share_ends_are_none_of_it(lines):
    assert conflicts(*lines) == 0


def prove(classes, monkeypatch, spoil=None, **options):
    source, regions = regions_of(classes)
    proof = Proof(seams(len(classes), 16))
    if spoil:
        close = polygons.OpenArcs.close
        monkeypatch.setattr(
            polygons.OpenArcs, "close", lambda self, *args: spoil(close(self, *args))
        )
    list(trace_polygons(source, regions, Generalisation(**options), proof, strip_rows=16))
    return proof, regions


def move_a_point(rings):
    rings.x[len(rings.x) // 2] += 1
    return rings


def lose_a_ring(rings):
    from dataclasses import replace

    return replace(
        rings,
        regions=rings.regions[:-1],
        doubled_areas=rings.doubled_areas[:-1],
        offsets=rings.offsets[:-1],
    )


def drop_a_vertex(rings):
    """As GDAL does where a straight side passes a junction."""
    from dataclasses import replace

    keep = np.ones(len(rings.x), bool)
    for ring in range(len(rings.regions)):
        first, end = rings.offsets[ring], rings.offsets[ring + 1]
        for at in range(first + 1, end - 1):
            before, after = at - 1, at + 1
            across = (rings.x[at] - rings.x[before]) * (rings.y[after] - rings.y[at])
            if across == (rings.y[at] - rings.y[before]) * (rings.x[after] - rings.x[at]):
                keep[at] = False
                offsets = rings.offsets.copy()
                offsets[ring + 1 :] -= 1
                return replace(rings, x=rings.x[keep], y=rings.y[keep], offsets=offsets)
    return rings


@pytest.mark.parametrize("smooth", [False, True])
def test_sound_polygons_pass(monkeypatch, smooth):
    proof, regions = prove(blobs(60, 50), monkeypatch, smooth=smooth, tolerance=1.5 * smooth)
    assert proof.is_matched
    assert proof.polygons == len(regions)


@pytest.mark.parametrize("spoil", [move_a_point, lose_a_ring, drop_a_vertex])
def test_spoiled_polygons_do_not(monkeypatch, spoil):
    proof, _ = prove(blobs(60, 50), monkeypatch, spoil)
    assert not proof.is_matched
