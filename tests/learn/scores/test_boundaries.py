import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from hyseg_cli.learn.scores.boundaries import (
    Disc,
    boundary_f1,
    boundary_iou,
    contour,
    count_boundaries,
)

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)
whole = (slice(None), slice(None))


@st.composite
def pairs(draw, elements=(0, 1, 2)):
    shape = draw(shapes)
    return tuple(
        draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from(elements))) for _ in range(2)
    )


def by_distance_transforms(reference, mapped, radius, classes):
    """The same numbers with one distance transform for each mask."""
    counts = np.zeros((classes, 7), np.int64)
    for channel in range(classes):
        bands, lines = [], []
        for raster in (reference, mapped):
            mask = raster == channel
            away = (
                ndimage.distance_transform_edt(mask) if (~mask).any() else np.full(mask.shape, 1e9)
            )
            bands.append(mask & (away <= radius))
            lines.append(mask & (away <= 1))
        near = [
            line & (ndimage.distance_transform_edt(~other) <= radius if other.any() else False)
            for line, other in (lines, lines[::-1])
        ]
        parts = (bands[0] & bands[1], *bands, lines[0], near[0], lines[1], near[1])
        counts[channel] = [part.sum() for part in parts]
    return counts


@settings(deadline=None)
@given(rasters=pairs(), radius=st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.3]))
def test_counts_are_those_of_distance_transforms(rasters, radius):
    found = count_boundaries(*rasters, whole, Disc(radius), 3)
    np.testing.assert_array_equal(found, by_distance_transforms(*rasters, radius, 3))


@settings(deadline=None)
@given(rasters=pairs((0, 1, 255)), radius=st.sampled_from([1.0, 2.0, 3.5]), side=st.integers(1, 6))
def test_windows_with_a_rim_add_up_to_the_whole(rasters, radius, side):
    rasters = [np.where((rasters[0] == 255) | (rasters[1] == 255), 255, r) for r in rasters]
    rasters = [raster.astype(np.uint8) for raster in rasters]
    disc, (height, width) = Disc(radius), rasters[0].shape
    rim = disc.reach + 1
    total = np.zeros((2, 7), np.int64)
    for row in range(0, height, side):
        for col in range(0, width, side):
            top, left = max(0, row - rim), max(0, col - rim)
            read = (slice(top, row + side + rim), slice(left, col + side + rim))
            inner = (
                slice(row - top, min(row + side, height) - top),
                slice(col - left, min(col + side, width) - left),
            )
            total += count_boundaries(*(raster[read] for raster in rasters), inner, disc, 2)
    np.testing.assert_array_equal(total, count_boundaries(*rasters, whole, disc, 2))


def test_a_5_by_5_square_counted_by_hand():
    reference = np.zeros((5, 5), np.uint8)
    reference[1:4, 1:4] = 1
    mapped = np.zeros((5, 5), np.uint8)
    mapped[1:4, 2:5] = 1  # the square one column to the right
    counts = count_boundaries(reference, mapped, whole, Disc(1.0), 2)[1]
    # Inner bands: the 8 outer pixels of the square; in the map its right column lies at the
    # scene's edge, which is no contour: 7. Common: 4 of columns 2 and 3, rows 1 and 3.
    # Every contour pixel but the left, resp. right, column's lies within one pixel of another.
    assert counts[:3].tolist() == [4, 8, 7]
    assert boundary_iou(counts[None])[0] == pytest.approx(4 / 11)
    assert counts[[3, 5]].tolist() == [8, 7]


def test_neither_scene_edges_nor_unknown_pixels_are_contours():
    raster = np.zeros((6, 6), np.uint8)
    raster[2:4, 2:4] = 255
    assert not contour(raster).any()
    scores = count_boundaries(raster, raster, whole, Disc(3.0), 1)
    assert np.isnan(boundary_iou(scores)).all()
    assert np.isnan(boundary_f1(scores)).all()


def test_a_line_within_the_tolerance_is_right_and_beyond_it_wrong():
    def scores(shift, tolerance):
        rasters = [np.zeros((20, 20), np.uint8) for _ in range(2)]
        rasters[0][:, 8:] = 1
        rasters[1][:, 8 + shift :] = 1
        return boundary_f1(count_boundaries(*rasters, whole, Disc(tolerance), 2))

    assert scores(3, 3.0).tolist() == [1.0, 1.0]
    assert scores(3, 2.9).tolist() == [0.0, 0.0]


def test_a_contour_that_only_one_raster_has_scores_zero():
    line, none = np.zeros((5, 5), np.uint8), np.zeros((5, 5), np.uint8)
    line[2:] = 1
    counts = count_boundaries(line, none, whole, Disc(1.0), 2)
    assert boundary_f1(counts).tolist() == [0.0, 0.0]
    assert boundary_iou(counts).tolist() == [0.0, 0.0]
