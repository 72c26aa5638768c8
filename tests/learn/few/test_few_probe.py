"""The head, its penalty, and what to expect of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.learn.few.expected import expect, unlike_scenes, wilson
from hyseg_cli.learn.few.probe import Samples, deal, fit_probe


def clouds(polygons=6, pixels=10, classes=3, spread=0.3, width=40, seed=0):
    """Polygons of some classes whose pixels lie in clouds around the middle of their class."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(classes, width))
    features, channel, polygon = [], [], []
    for row in range(polygons * classes):
        own = row % classes
        shift = rng.normal(size=width) * spread
        features.append(middles[own] + shift + 0.1 * rng.normal(size=(pixels, width)))
        channel += [own] * pixels
        polygon += [row] * pixels
    stacked = torch.from_numpy(np.concatenate(features)).float()
    return Samples(stacked, np.array(channel), np.array(polygon))


def accuracy(fit, samples):
    scores = samples.features @ fit.weight.T + fit.bias
    return float((scores.argmax(dim=1).numpy() == samples.channel).mean())


def test_clouds_apart_are_told_apart():
    fit = fit_probe(clouds(), 3, seed=0)
    assert accuracy(fit, clouds()) == 1.0
    assert fit.held_out is not None
    assert (fit.held_out.argmax(axis=1) == clouds().channel).mean() > 0.95


def test_the_fit_is_the_same_each_time():
    one, other = fit_probe(clouds(), 3, seed=0), fit_probe(clouds(), 3, seed=0)
    assert torch.equal(one.weight, other.weight)


def test_held_out_polygons_of_noise_are_right_by_chance_only():
    samples = clouds(spread=20.0, polygons=12)
    fit = fit_probe(samples, 3, seed=0)
    expected = expect(samples, fit.held_out, ["a", "b", "c"])
    assert expected.accuracy < 0.6
    assert any("confused" in text for text in expected.advice)


def test_polygons_weigh_alike_whatever_their_size():
    samples = Samples(
        torch.zeros(12, 2), np.array([0] * 10 + [1] * 2), np.array([0] * 9 + [1] + [2] * 2)
    )
    weights = samples.weights
    assert weights.sum() == pytest.approx(12)
    assert weights[:9].sum() == pytest.approx(3)
    assert weights[9].item() == pytest.approx(3)
    assert weights[10:].sum() == pytest.approx(6)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(0, 5))
def test_no_class_is_left_out_whole(classes, seed):
    channel = np.array(classes)
    samples = Samples(torch.zeros(len(classes), 1), channel, np.arange(len(classes)))
    folds = deal(samples, seed)
    for own in set(classes):
        if classes.count(own) < 2:
            assert folds is None or (folds[channel == own] == -1).all()
        else:
            assert folds is not None
            assert len(set(folds[channel == own].tolist())) > 1


def test_one_polygon_for_each_class_is_a_guess():
    samples = clouds(polygons=1)
    fit = fit_probe(samples, 3, seed=0)
    assert fit.held_out is None
    expected = expect(samples, fit.held_out, ["a", "b", "c"])
    assert expected.accuracy is None
    assert expected.to_text().count("a guess") == 6  # in the table and in the advice
    assert accuracy(fit, samples) == 1.0


def test_a_single_polygon_of_one_class_is_a_guess_beside_others():
    whole = clouds(polygons=4)
    kept = (whole.channel != 2) | (whole.polygon == 2)
    samples = Samples(
        whole.features[torch.from_numpy(kept)], whole.channel[kept], whole.polygon[kept]
    )
    fit = fit_probe(samples, 3, seed=0)
    expected = expect(samples, fit.held_out, ["a", "b", "c"])
    assert [entry.found is None for entry in expected.classes] == [False, False, True]
    assert "c has a single polygon" in expected.advice[0]


def test_advice_names_the_two_classes_that_are_confused():
    samples = clouds(polygons=8)
    held_out = np.eye(3, dtype=np.float32)[samples.channel]
    held_out[(samples.channel == 2) & (samples.polygon % 2 == 0)] = [0, 1, 0]
    expected = expect(samples, held_out, ["roof", "road", "bare ground"])
    assert "bare ground and road are confused (50 %" in expected.advice[0].replace("50%", "50 %")
    assert expected.confusion[2].tolist() == [0, 0.5, 0.5]


def test_the_record_of_a_card_is_plain_json():
    import json

    samples = clouds(polygons=1)
    record = expect(samples, None, ["a", "b", "c"]).to_dict()
    assert json.loads(json.dumps(record)) == record
    assert "NaN" not in json.dumps(record)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_intervals_hold_the_share_and_shrink_with_polygons(share):
    few, many = wilson(share, 4), wilson(share, 400)
    assert few[0] <= share <= few[1]
    assert few[1] - few[0] > many[1] - many[0]
    assert few[0] >= 0
    assert few[1] <= 1


def test_coverage_of_the_interval_is_near_its_promise():
    rng = np.random.default_rng(0)
    found = [wilson(rng.binomial(10, 0.8) / 10, 10) for _ in range(2000)]
    covered = np.mean([low <= 0.8 <= high for low, high in found])
    assert 0.92 < covered < 0.99


def test_a_scene_unlike_the_others_is_named():
    near = [np.zeros(10), np.full(10, 0.1)]
    assert unlike_scenes(near, ["a", "b"]) is None
    text = unlike_scenes([*near, np.full(10, 2.0)], ["a", "b", "far"])
    assert text is not None
    assert text.startswith("far looks unlike")
