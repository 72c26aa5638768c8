import tempfile
from pathlib import Path

import numpy as np
import pytest
from geo.coverage.coverages import assert_coverage, blobs, regions_of, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from hyseg_cli.geo.coverage.merge import MergedRows, NodataAsClass, merge_small
from hyseg_cli.geo.coverage.regions import find_regions

rasters = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0, 1, 2, 255]),
)


def merge(classes, limit, into="longest-border", protected=()):
    source, regions = regions_of(classes)
    limits = np.full(len(regions) + 1, float(limit))
    limits[np.isin(regions.class_ids, protected)] = 0
    merging = merge_small(source, regions, regions.pixels.astype(float), limits, into=into)
    rows = MergedRows(source, merging, 255)
    return np.concatenate([rows.read(row, 1) for row in range(len(classes))])


def slowly(classes, limit, into):
    """The rule of `merge_small`, one region at a time, on an array of region numbers."""
    labels = label(classes.astype(int) + 1, connectivity=1)
    labels[classes == 255] = 0
    firsts = {
        number: np.flatnonzero(labels == number)[0] for number in np.unique(labels[labels > 0])
    }
    numbers = np.zeros_like(labels)
    for new, old in enumerate(sorted(firsts, key=firsts.get), 1):
        numbers[labels == old] = new
    class_of = {int(n): int(c) for n, c in zip(numbers.ravel(), classes.ravel(), strict=True)}
    while True:
        found, sizes = np.unique(numbers[numbers > 0], return_counts=True)
        size = dict(zip(found.tolist(), sizes.tolist(), strict=True))
        for region in sorted((n for n in size if size[n] < limit), key=lambda n: (size[n], n)):
            touching = neighbours(numbers, region)
            if touching:
                break
        else:
            return np.vectorize(lambda n: class_of[n] if n else 255)(numbers)
        score = touching if into == "longest-border" else size
        target = min(touching, key=lambda n: (-score[n], n))
        same = {n for n in touching if class_of[n] == class_of[target]}
        root, class_id = min(same | {region}), class_of[target]
        numbers[np.isin(numbers, [region, *same])] = root
        class_of[root] = class_id


def neighbours(numbers, region):
    """Pixel sides that a region shares with each other region."""
    padded = np.pad(numbers, 1)
    inside = padded == region
    shared = {}
    for axis in (0, 1):
        for step in (1, -1):
            beside = np.roll(padded, step, axis)[inside]
            for other in beside[(beside != region) & (beside > 0)].tolist():
                shared[other] = shared.get(other, 0) + 1
    return shared


@settings(deadline=None, max_examples=150)
@given(
    classes=rasters, limit=st.integers(1, 8), into=st.sampled_from(["longest-border", "largest"])
)
def test_it_is_the_rule_applied_one_region_at_a_time(classes, limit, into):
    np.testing.assert_array_equal(merge(classes, limit, into), slowly(classes, limit, into))


@settings(deadline=None)
@given(classes=rasters, limit=st.integers(1, 8))
def test_no_region_with_a_neighbour_is_left_too_small(classes, limit):
    merged = merge(classes, limit)
    assert ((merged == 255) == (classes == 255)).all()
    _, regions = regions_of(merged.astype(np.uint8))
    labels = label(merged + 1, connectivity=1)
    for number in np.unique(labels[merged != 255]):
        inside = labels == number
        if inside.sum() < limit:
            alone = np.pad(merged, 1, constant_values=255)
            beside = {
                int(v)
                for axis in (0, 1)
                for step in (1, -1)
                for v in np.roll(alone, step, axis)[np.pad(inside, 1)]
            } - {int(merged[inside][0])}
            assert beside <= {255}
    assert len(regions) <= len(np.unique(labels))


@settings(deadline=None)
@given(classes=rasters, limit=st.integers(1, 8), protected=st.sampled_from([0, 1]))
def test_no_pixel_of_a_protected_class_changes(classes, limit, protected):
    merged = merge(classes, limit, protected=(protected,))
    assert (merged[classes == protected] == protected).all()


def test_areas_without_class_are_neither_merged_nor_merged_into():
    classes = np.full((5, 5), 255, np.uint8)
    classes[2, 2] = 1
    np.testing.assert_array_equal(merge(classes, 10), classes)


@pytest.mark.parametrize(("into", "winner"), [("longest-border", 1), ("largest", 2)])
def test_the_border_or_the_size_decides(into, winner):
    classes = np.array([[2, 2, 1, 1, 2], [2, 2, 0, 1, 2], [2, 2, 1, 1, 2]], np.uint8)
    assert merge(classes, 2, into)[1, 2] == winner


def test_merged_rasters_become_coverages():
    merged = merge(blobs(80, 80, roughness=0.7), 12).astype(np.uint8)
    assert_coverage(trace(merged, smooth=True, tolerance=1.0))


def fill(classes, limit):
    plain, _ = regions_of(classes)
    source = NodataAsClass(plain)
    with tempfile.TemporaryDirectory() as folder:
        regions = find_regions(source, np.ones(len(classes)), Path(folder))
    limits = np.where(regions.class_ids == 255, float(limit), 0.0)
    merging = merge_small(
        source, regions, regions.pixels.astype(float), limits, closed_class=source.nodata
    )
    return MergedRows(source, merging, 255).read(0, len(classes))


@settings(deadline=None)
@given(classes=rasters, limit=st.integers(1, 8))
def test_small_areas_without_class_can_be_filled(classes, limit):
    filled = fill(classes, limit)
    known = classes != 255
    assert (filled[known] == classes[known]).all()
    holes = label(classes == 255, connectivity=1, background=0)
    for number in range(1, holes.max() + 1):
        inside = holes == number
        is_small = inside.sum() < limit and not inside.all()
        assert ((filled[inside] != 255) == is_small).all()


def test_nothing_is_merged_into_an_area_without_class():
    classes = np.full((9, 9), 255, np.uint8)
    classes[4, 4] = 1
    source = NodataAsClass(regions_of(classes)[0])
    with tempfile.TemporaryDirectory() as folder:
        regions = find_regions(source, np.ones(9), Path(folder))
    sizes = regions.pixels.astype(float)
    merging = merge_small(source, regions, sizes, np.full(3, 1000.0), closed_class=255)
    np.testing.assert_array_equal(MergedRows(source, merging, 255).read(0, 9), np.ones((9, 9), int))
