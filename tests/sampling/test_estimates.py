"""Design-based estimates against the worked examples of the papers, and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.sampling.estimates import Estimate, Stratum, count_labels, estimate

M2_PER_HA = 10_000


@pytest.fixture
def olofsson():
    """Olofsson et al. 2014, section 5, table 8: strata are the map classes, pixels of 30 m."""
    pixels = {
        "deforestation": 200_000,
        "forest gain": 150_000,
        "stable forest": 3_200_000,
        "stable non-forest": 6_450_000,
    }
    matrix = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    counts = np.zeros((4, 4, 4), np.int64)
    counts[range(4), range(4)] = matrix
    # They leave out the correction for a finite population.
    return estimate(counts, tuple(Stratum(name, n * 900.0, math.inf) for name, n in pixels.items()))


def half_widths(estimates):
    return [1.96 * estimate.se for estimate in estimates]


def test_overall_accuracy_of_olofsson_2014(olofsson):
    # Printed: 0.95 +- 0.02.
    assert round(olofsson.overall_accuracy.value, 3) == 0.947
    assert round(1.96 * olofsson.overall_accuracy.se, 3) == 0.018


def test_accuracies_of_olofsson_2014(olofsson):
    users = [c.users_accuracy for c in olofsson.classes]
    producers = [c.producers_accuracy for c in olofsson.classes]
    assert [round(e.value, 2) for e in users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(e.value, 2) for e in producers] == [0.75, 0.85, 0.93, 0.96]
    # Half widths as the R package mapaccuracy computes them from the same data.
    assert half_widths(users) == pytest.approx(
        [0.07403962, 0.10075516, 0.03974464, 0.02053312], rel=5e-5
    )
    assert half_widths(producers) == pytest.approx(
        [0.21330593, 0.25440369, 0.03432379, 0.01836120], rel=5e-5
    )


def test_areas_of_olofsson_2014(olofsson):
    areas = [c.area_m2 for c in olofsson.classes]
    assert [round(e.value / M2_PER_HA) for e in areas] == [21_158, 11_686, 285_770, 581_386]
    assert [round(w / M2_PER_HA) for w in half_widths(areas)] == [6_158, 3_756, 15_510, 16_282]
    assert np.array(areas[0].interval) / M2_PER_HA == pytest.approx([15_000, 27_316], abs=1)


def test_the_error_matrix_of_olofsson_2014(olofsson):
    # Table 9, in shares of the area.
    expected = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_array_equal(np.round(olofsson.proportions, 4), expected)


@pytest.fixture
def stehman():
    """Stehman 2014, table 2: four strata that are not the map classes, ten points each."""
    letters = "ABCD"
    mapped = "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"
    reference = "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"
    counts = count_labels(
        np.repeat(np.arange(4), 10),
        np.array([letters.index(letter) for letter in mapped]),
        np.array([letters.index(letter) for letter in reference]),
        n_strata=4,
        n_classes=4,
    )
    pixels = [40_000, 30_000, 20_000, 10_000]
    return estimate(
        counts, tuple(Stratum(str(i), float(n), float(n)) for i, n in enumerate(pixels, 1))
    )


def test_values_of_stehman_2014(stehman):
    total = 100_000
    assert round(stehman.classes[0].area_m2.value / total, 3) == 0.35
    assert round(stehman.classes[2].area_m2.value / total, 3) == 0.20
    assert round(stehman.overall_accuracy.value, 3) == 0.63
    assert round(stehman.classes[1].users_accuracy.value, 3) == 0.574
    assert round(stehman.classes[1].producers_accuracy.value, 3) == 0.794
    assert round(stehman.proportions[1, 2], 3) == 0.08


def test_standard_errors_of_stehman_2014(stehman):
    total = 100_000
    assert round(stehman.classes[0].area_m2.se / total, 3) == 0.082
    assert round(stehman.classes[2].area_m2.se / total, 3) == 0.064
    assert round(stehman.overall_accuracy.se, 3) == 0.085
    assert round(stehman.classes[1].users_accuracy.se, 3) == 0.125


def test_stehman_2014_to_the_digits_of_mapaccuracy(stehman):
    # The R package of that name, on the same data.
    total = 100_000
    assert stehman.classes[0].area_m2.se / total == pytest.approx(0.0822478, abs=1e-7)
    assert stehman.classes[2].area_m2.se / total == pytest.approx(0.06427977, abs=1e-8)
    assert stehman.overall_accuracy.se == pytest.approx(0.08464219, abs=1e-8)
    assert stehman.classes[1].users_accuracy.se == pytest.approx(0.1247822, abs=1e-7)


def test_the_producers_accuracy_of_stehman_2014_is_that_of_its_equation(stehman):
    # The paper prints 0.114, from variances rounded before; its equation 28 by hand, from the
    # variances and covariances of table 2, and the package mapaccuracy give 0.1165.
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    y, x = np.array([1, 7, 1, 0]), np.array([2, 7, 2, 1])  # right, and all, of class B
    mean_y, mean_x = y / 10, x / 10
    s2_y, s2_x = mean_y * (1 - mean_y) * 10 / 9, mean_x * (1 - mean_x) * 10 / 9
    s_xy = (mean_y - mean_x * mean_y) * 10 / 9  # y is 1 only where x is
    ratio = (weights @ mean_y) / (weights @ mean_x)
    unsampled = 1 - 10 / (100_000 * weights)
    variance = (weights**2 * unsampled) @ ((s2_y + ratio**2 * s2_x - 2 * ratio * s_xy) / 10)
    by_hand = math.sqrt(variance) / (weights @ mean_x)
    assert stehman.classes[1].producers_accuracy.se == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.1165479, abs=1e-7)


def test_a_sample_of_everything_has_no_error():
    counts = np.array([[[3, 1], [0, 2]]])
    found = estimate(counts, (Stratum("all", 6.0, 6.0),))
    assert found.overall_accuracy.value == pytest.approx(5 / 6)
    assert found.overall_accuracy.se == 0.0
    assert found.classes[0].area_m2 == Estimate(pytest.approx(3.0), 0.0, 6.0)


@pytest.mark.parametrize(("sampled", "pixels", "is_enough"), [(0, 9, 0), (1, 9, 0), (1, 1, 1)])
def test_a_stratum_with_too_few_labels_is_told(sampled, pixels, is_enough):
    counts = np.array([[[5, 1], [0, 4]], [[sampled, 0], [0, 0]]])
    strata = (Stratum("wide", 900.0, 900.0), Stratum("rare", 1.0, float(pixels)))
    if is_enough:
        estimate(counts, strata)
        return
    with pytest.raises(ModelMismatchError, match=f"rare has {sampled} labelled"):
        estimate(counts, strata)


def test_a_class_that_nothing_is_mapped_as_has_no_users_accuracy():
    found = estimate(np.array([[[4, 0, 2], [0, 3, 0], [0, 0, 0]]]), (Stratum("s", 1.0, math.inf),))
    assert math.isnan(found.classes[2].users_accuracy.value)
    assert found.classes[2].producers_accuracy.value == 0.0
    assert math.isnan(found.classes[2].users_accuracy.interval[0])


@given(
    counts=st.lists(
        st.lists(st.integers(0, 20), min_size=9, max_size=9).filter(lambda c: sum(c) > 1),
        min_size=1,
        max_size=4,
    ),
    areas=st.lists(st.floats(1.0, 1e6), min_size=4, max_size=4),
)
def test_areas_add_up_and_shares_stay_shares(counts, areas):
    table = np.array(counts).reshape(-1, 3, 3)
    strata = tuple(Stratum("s", area, math.inf) for area in areas[: len(table)])
    found = estimate(table, strata)
    total = sum(stratum.area_m2 for stratum in strata)
    assert sum(c.area_m2.value for c in found.classes) == pytest.approx(total)
    assert found.proportions.sum() == pytest.approx(1.0)
    assert found.overall_accuracy.value == pytest.approx(np.trace(found.proportions))
    for of_class in found.classes:
        for value in (of_class.users_accuracy, of_class.producers_accuracy):
            low, high = value.interval
            assert math.isnan(value.value) or 0.0 <= low <= high <= 1.0


def simulate(strata, mapped, reference, sizes, runs, seed):
    """Estimates of samples drawn again and again from a population that is known."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == s) for s in range(len(sizes))]
    described = tuple(Stratum("s", float(len(m)), float(len(m))) for m in members)
    for _ in range(runs):
        drawn = [
            rng.choice(pixels, n, replace=False, shuffle=False)
            for pixels, n in zip(members, sizes, strict=True)
        ]
        chosen = np.concatenate(drawn)
        counts = count_labels(
            strata[chosen], mapped[chosen], reference[chosen], n_strata=len(sizes), n_classes=3
        )
        yield estimate(counts, described)


@pytest.mark.parametrize("strata_are_classes", [True, False])
def test_estimates_are_unbiased_and_intervals_cover(strata_are_classes):
    rng = np.random.default_rng(5)
    size = 20_000
    reference = rng.choice(3, size, p=[0.55, 0.3, 0.15])
    mapped = np.where(rng.random(size) < 0.8, reference, rng.integers(3, size=size))
    strata = mapped if strata_are_classes else (np.arange(size) // 100) % 2
    sizes = [400, 300, 300] if strata_are_classes else [600, 400]
    runs = 500
    found = list(simulate(strata, mapped, reference, sizes, runs, seed=1))
    truths = {
        "oa": (mapped == reference).mean(),
        "area": (reference == 1).sum(),
        "pa": (mapped == reference)[reference == 2].mean(),
        "ua": (mapped == reference)[mapped == 1].mean(),
    }
    values = {
        "oa": [f.overall_accuracy for f in found],
        "area": [f.classes[1].area_m2 for f in found],
        "pa": [f.classes[2].producers_accuracy for f in found],
        "ua": [f.classes[1].users_accuracy for f in found],
    }
    for name, truth in truths.items():
        centre = np.mean([e.value for e in values[name]])
        spread = np.std([e.value for e in values[name]])
        # Ratios have a bias of the order of their variance; four errors of the mean bound both.
        assert abs(centre - truth) < 4 * spread / math.sqrt(runs) + 0.02 * spread, name
        assert np.mean([e.se for e in values[name]]) == pytest.approx(spread, rel=0.1), name
        covered = np.mean([e.interval[0] <= truth <= e.interval[1] for e in values[name]])
        # Four standard errors of a share of 0.95 among so many runs.
        assert abs(covered - 0.95) < 0.04, (name, covered)
