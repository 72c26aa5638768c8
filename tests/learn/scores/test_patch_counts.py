import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.learn.scores.boundaries import Disc
from hyseg_cli.learn.scores.comparison import Comparison
from hyseg_cli.learn.scores.evaluation import (
    Evaluation,
    PatchCounts,
    PatchGrid,
    Protocol,
    Unmatched,
    count_patch,
)
from hyseg_cli.learn.scores.seams import TileLines
from hyseg_cli.legend import Legend, LegendClass

LEGEND = Legend(tuple(LegendClass(id=i, name=f"c{i}", color=(i, 0, 0)) for i in range(3)))


@settings(deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    side=st.integers(8, 200),
    rim=st.integers(0, 9),
)
def test_patches_partition_the_raster_and_are_of_one_size(height, width, side, rim):
    seen = np.zeros((height, width), int)
    patches = list(PatchGrid.cover(height, width, side=side, rim=rim))
    for patch in patches:
        seen[patch.window.slices] += 1
        grown = np.zeros((height, width), bool)
        grown[patch.read.slices] = True
        assert grown[patch.read.slices][patch.inner].shape == (
            patch.window.height, patch.window.width
        )  # fmt: skip
        for distance, edge in (
            (patch.window.row - patch.read.row, patch.read.row == 0),
            (patch.read.col_stop - patch.window.col_stop, patch.read.col_stop == width),
        ):
            assert distance == rim or (edge and distance < rim) or rim == 0
    assert (seen == 1).all()
    heights = {patch.window.height for patch in patches}
    assert max(heights) - min(heights) <= 1
    assert max(heights) < 1.5 * side or len(heights) == 1


def evaluate(order, wrong=0.1, seed=1):
    """A map wrong at random at some pixels, its patches counted in some order."""
    rng = np.random.default_rng(0)
    reference = np.kron(rng.integers(0, 3, (12, 12)), np.ones((8, 8), int)).astype(np.uint8)
    mapped, rng = reference.copy(), np.random.default_rng(seed)
    noise = rng.random(mapped.shape) < wrong
    mapped[noise] = rng.integers(0, 3, noise.sum())
    reference[:5, 40:60] = 255
    protocol = Protocol(patch_px=20, disc=Disc(2.0))
    patches = list(PatchGrid.cover(96, 96, side=20, rim=3))
    lines = TileLines.of(TileGrid.cover(96, 96, tile=64, overlap=0))
    counts = PatchCounts(3)
    for index in order(len(patches)):
        read = patches[index].read.slices
        counts.add(
            count_patch(
                patches[index], reference[read], mapped[read], 3, disc=protocol.disc, lines=lines
            )
        )
    return Evaluation.of(
        counts,
        LEGEND,
        protocol,
        name="map",
        reference="truth",
        unmatched=Unmatched(),
        scenes=("map",),
    )


def test_any_order_of_the_patches_gives_the_same_numbers():
    forwards = evaluate(range)
    for seed in range(3):
        shuffled = evaluate(lambda n, s=seed: np.random.default_rng(s).permutation(n).tolist())
        assert shuffled.overall() == forwards.overall()
        assert shuffled.by_class() == forwards.by_class()
        assert shuffled.seams == forwards.seams
        np.testing.assert_array_equal(shuffled.patches.places, forwards.patches.places)


def test_a_better_map_is_better_by_more_than_chance():
    worse, better = evaluate(range, wrong=0.2), evaluate(range, wrong=0.05)
    entries = {d.metric: d for d in Comparison.of(worse, better).differences if not d.class_name}
    for metric in ("miou", "overall_accuracy", "boundary_iou", "cldice"):
        assert entries[metric].interval.low > 0, metric
    for metric in ("b0_error", "b1_error"):
        assert entries[metric].interval.high < 0, metric
    for entry in entries.values():
        assert entry.first == pytest.approx(worse.overall()[entry.metric])
        assert entry.interval.low <= entry.value <= entry.interval.high


def test_maps_that_differ_by_chance_alone_are_seldom_said_to_differ():
    # At 95 % one of twenty pairs is expected; four or more have a chance of 2 %.
    first = evaluate(range, seed=1)
    accuracies = [
        next(
            entry
            for entry in Comparison.of(first, evaluate(range, seed=seed)).differences
            if entry.metric == "overall_accuracy"
        )
        for seed in range(2, 22)
    ]
    assert all(entry.value != 0 for entry in accuracies)
    assert sum(entry.interval.excludes_zero for entry in accuracies) <= 3
