import math

import numpy as np
import pytest

from hyseg_cli.learn.scores.bootstrap import Interval, interval_of, resample_sums


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    rng = np.random.default_rng(2)
    blocks = np.column_stack([rng.normal(3.0, 2.0, 400), np.ones(400)])
    sums = resample_sums(blocks)
    interval = interval_of(sums[:, 0] / sums[:, 1])
    half = 1.96 * blocks[:, 0].std() / math.sqrt(400)
    assert interval.low == pytest.approx(blocks[:, 0].mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(blocks[:, 0].mean() + half, abs=0.15 * half)


def test_every_draw_holds_as_many_blocks_as_there_are():
    assert (resample_sums(np.ones((37, 1)), draws=250) == 37).all()


def test_equal_seeds_draw_equal_blocks():
    blocks = np.arange(20.0)[:, None]
    both = resample_sums(np.hstack([blocks, 2 * blocks]), draws=50)
    alone = resample_sums(blocks, draws=50)
    np.testing.assert_array_equal(both[:, :1], alone)
    np.testing.assert_array_equal(both[:, 1:], 2 * alone)
    assert (resample_sums(blocks, draws=50, seed=1) != alone).any()


def test_a_single_block_has_no_interval_rather_than_one_without_width():
    interval = interval_of(resample_sums(np.array([[3.0]]))[:, 0])
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_what_exists_in_no_draw_has_no_interval():
    interval = interval_of(np.full(9, np.nan))
    assert math.isnan(interval.low)
    assert not interval.excludes_zero


def test_zero_inside_an_interval_is_chance():
    assert Interval(0.1, 0.2).excludes_zero
    assert Interval(-0.2, -0.1).excludes_zero
    assert not Interval(-0.1, 0.2).excludes_zero
    assert not Interval(0.0, 0.0).excludes_zero
