import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure
from skimage.morphology import skeletonize

from hyseg_cli.learn.scores.structure import betti_numbers, cl_dice, skeleton_counts

masks = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 2, 255]),
)

PICTURES = {
    # 1 is the class, 0 the background, ? unknown; pieces and holes counted by hand.
    "a ring": (["11111", "10001", "10001", "10001", "11111"], 1, 1),
    "a ring of diagonal touches holds its hole": (["010", "101", "010"], 1, 1),
    "pieces that touch at a corner are one": (["100", "010", "001"], 1, 0),
    "a gap at a corner of the hole is none": (["111", "101", "110"], 1, 1),
    "a hole at the border is a bay": (["111", "101", "101"], 1, 0),
    "two holes that touch at a corner are two": (["1111", "1011", "1101", "1111"], 1, 2),
    "an island in a lake": (["11111", "10001", "10101", "10001", "11111"], 2, 1),
    "unknown pixels are a hole, too": (["111", "1?1", "111"], 1, 1),
    "nothing": (["000", "000", "000"], 0, 0),
    "one pixel": (["1"], 1, 0),
    "a row": (["1101"], 2, 0),
    "arms that meet from both sides": (["1001", "1010", "1100"], 1, 0),
}


def channels_of(rows):
    return np.array([[255 if c == "?" else int(c) for c in row] for row in rows], np.uint8)


def oracle(mask, classes):
    found = []
    for channel in range(classes):
        pieces = measure.label(mask == channel, connectivity=2).max()
        found.append((pieces, pieces - measure.euler_number(mask == channel, connectivity=2)))
    return found


@pytest.mark.parametrize(("rows", "pieces", "holes"), PICTURES.values(), ids=PICTURES)
def test_pieces_and_holes_counted_by_hand(rows, pieces, holes):
    assert betti_numbers(channels_of(rows), 2)[1].tolist() == [pieces, holes]


@settings(deadline=None)
@given(mask=masks)
def test_pieces_and_holes_are_those_of_skimage(mask):
    np.testing.assert_array_equal(betti_numbers(mask, 3), oracle(mask, 3))


def test_a_large_noisy_raster_needs_no_more_labels_than_there_is_room_for():
    # Isolated pixels on every other row and column: the most pieces that fit.
    raster = np.full((51, 51), 255, np.uint8)
    raster[::2, ::2] = 0
    assert betti_numbers(raster, 1).tolist() == [[26 * 26, 0]]
    noise = np.random.default_rng(0).integers(0, 3, (200, 301)).astype(np.uint8)
    np.testing.assert_array_equal(betti_numbers(noise, 3), oracle(noise, 3))


@settings(deadline=None)
@given(mask=masks)
def test_identical_masks_have_a_cl_dice_of_one(mask):
    scores = cl_dice(skeleton_counts(mask, mask, 3))
    occurs = [(mask == channel).any() for channel in range(3)]
    np.testing.assert_array_equal(scores, np.where(occurs, 1.0, np.nan))


@settings(deadline=None)
@given(pair=hnp.arrays(np.uint8, (2, 9, 11), elements=st.sampled_from([0, 1, 2, 255])))
def test_skeletons_are_those_of_the_whole_patch(pair):
    counts = skeleton_counts(pair[0], pair[1], 3)
    for channel, row in enumerate(counts):
        known, found = pair == channel
        lines = skeletonize(known), skeletonize(found)
        expected = lines[0].sum(), lines[0][found].sum(), lines[1].sum(), lines[1][known].sum()
        assert tuple(row) == expected


def test_a_broken_line_has_the_cl_dice_computed_by_hand():
    reference = np.full((5, 12), 255, np.uint8)
    reference[2, 1:11] = 0  # a line of ten pixels
    mapped = reference.copy()
    mapped[2, 5:7] = 255  # two of them are missing
    counts = skeleton_counts(reference, mapped, 1)
    # A line one pixel wide is its own skeleton: 8 of 10 are covered, all 8 of the map are right.
    assert counts.tolist() == [[10, 8, 8, 8]]
    assert cl_dice(counts)[0] == pytest.approx(2 * 0.8 / 1.8)


def test_a_class_in_one_raster_alone_scores_zero_and_in_none_nothing():
    counts = skeleton_counts(np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8), 3)
    assert cl_dice(counts)[:2].tolist() == [0.0, 0.0]
    assert math.isnan(cl_dice(counts)[2])


def test_lines_that_never_meet_score_zero():
    reference, mapped = (np.full((7, 7), 255, np.uint8) for _ in range(2))
    reference[1], mapped[5] = 0, 0
    assert cl_dice(skeleton_counts(reference, mapped, 1)).tolist() == [0.0]
