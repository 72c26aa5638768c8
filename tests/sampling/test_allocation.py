import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.sampling.allocation import allocate, count_for, default_minimum, expected_se

# Olofsson et al. 2014, section 5.1.1: deforestation, gain, stable forest, stable non-forest.
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
EXPECTED = np.array([0.70, 0.60, 0.90, 0.95])
OLOFSSON = {"areas": PIXELS * 900.0, "pixels": PIXELS, "expected": EXPECTED}


def test_the_sample_size_of_olofsson_2014():
    # "The resulting sample size is 641."
    assert count_for(0.01, "neyman", minimum=2, **OLOFSSON) == pytest.approx(641, abs=1)


def test_the_allocation_of_olofsson_2014():
    # 75 points for each of the rare classes, the rest by area; the paper rounds 163 and 328 to
    # 165 and 325.
    points = allocate(641, "olofsson", minimum=75, **OLOFSSON)
    assert points.tolist() == [75, 75, 163, 328]


def test_equal_and_proportional_allocations_of_olofsson_2014():
    # Table 6 prints 160 for each class, and 13, 10, 205, 413 by area.
    assert set(allocate(640, "equal", minimum=2, **OLOFSSON).tolist()) == {160}
    assert allocate(641, "proportional", minimum=2, **OLOFSSON).tolist() == [13, 10, 205, 413]


def test_rare_classes_get_fifty_points_by_default():
    assert default_minimum("olofsson") == 50
    assert default_minimum("proportional") == 2


def test_no_stratum_gets_more_points_than_pixels():
    points = allocate(
        100,
        "equal",
        areas=np.array([10.0, 500.0, 500.0]),
        pixels=np.array([10, 500, 500]),
        expected=np.full(3, 0.8),
        minimum=20,
    )
    assert points.tolist() == [10, 45, 45]


@pytest.mark.parametrize(("count", "words"), [(100, "too few"), (20_000_000, "cannot be drawn")])
def test_counts_that_cannot_be_are_told(count, words):
    with pytest.raises(UsageProblemError, match=words):
        allocate(count, "olofsson", minimum=50, **OLOFSSON)


def test_neyman_has_the_least_error():
    errors = {
        rule: expected_se(allocate(800, rule, minimum=2, **OLOFSSON), **OLOFSSON)
        for rule in ("neyman", "proportional", "equal")
    }
    assert min(errors, key=errors.get) == "neyman"


@given(
    pixels=st.lists(st.integers(1, 5_000), min_size=1, max_size=6),
    rule=st.sampled_from(["proportional", "equal", "neyman", "olofsson"]),
    minimum=st.integers(1, 60),
    data=st.data(),
)
def test_points_add_up_within_their_bounds(pixels, rule, minimum, data):
    pixels = np.array(pixels)
    least = np.minimum(minimum, pixels)
    count = data.draw(st.integers(int(least.sum()), int(pixels.sum())))
    expected = np.linspace(0.0, 1.0, len(pixels))
    points = allocate(
        count,
        rule,
        areas=pixels * 4.0,
        pixels=pixels,
        expected=expected,
        minimum=minimum,
    )
    assert points.sum() == count
    assert (points >= least).all()
    assert (points <= pixels).all()


@settings(max_examples=25, deadline=None)
@given(target=st.floats(0.005, 0.2), rule=st.sampled_from(["proportional", "neyman", "olofsson"]))
def test_the_fewest_points_meet_the_target(target, rule):
    minimum = default_minimum(rule)
    count = count_for(target, rule, minimum=minimum, **OLOFSSON)
    points = allocate(count, rule, minimum=minimum, **OLOFSSON)
    assert expected_se(points, **OLOFSSON) <= target
    if count > 4 * minimum:
        fewer = allocate(count - 1, rule, minimum=minimum, **OLOFSSON)
        # Rounding to whole points may let one point fewer miss or meet the target by a hair.
        assert expected_se(fewer, **OLOFSSON) > target * 0.999
