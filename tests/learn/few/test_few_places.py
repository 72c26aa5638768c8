"""Places that are suggested: unsure, common, and unlike each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyseg_cli.learn.few.places import Candidates, candidates_of, covered, join, suggest


def scene_of(doubt, kind, seed=0, purity=None, unrest=None):
    """Candidates of some kinds (clusters of features), with a doubt from 0 to 1 each."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(int(max(kind)) + 1, 8)) * 5
    features = (middles[kind] + 0.1 * rng.normal(size=(len(kind), 8))).astype(np.float32)
    count, least = len(kind), np.asarray(doubt, np.float32) / 2
    return Candidates(
        np.arange(count) * 16,
        np.zeros(count, np.int64),
        features,
        np.stack([least, 1 - least], axis=1),
        np.ones(count, np.float32) if purity is None else purity,
        np.ones(count, np.float32) if unrest is None else unrest,
    )


NONE = np.zeros(0, np.int64)


def test_the_unsure_kind_comes_first():
    kind = np.repeat([0, 1, 2], 40)
    found = suggest(scene_of(np.where(kind == 1, 0.9, 0.1), kind), NONE, 1, seed=0)
    assert kind[found[0].candidate] == 1


def test_of_two_unsure_kinds_the_common_one_comes_first():
    kind = np.repeat([0, 1], [100, 12])
    found = suggest(scene_of(np.full(112, 0.5), kind), NONE, 1, seed=0)
    assert kind[found[0].candidate] == 0
    assert found[0].common > 0


def test_places_are_unlike_each_other():
    kind = np.repeat([0, 1, 2, 3], 30)
    found = suggest(scene_of(np.full(120, 0.5), kind), NONE, 4, seed=0)
    assert {kind[place.candidate] for place in found} == {0, 1, 2, 3}


def test_places_are_unlike_what_is_drawn():
    kind = np.repeat([0, 1], 50)
    found = suggest(scene_of(np.full(100, 0.5), kind), np.array([3]), 1, seed=0)
    assert kind[found[0].candidate] == 1


def test_no_place_comes_twice_and_none_is_drawn_already():
    scene = scene_of(np.full(20, 0.5), np.zeros(20, int))
    found = suggest(scene, np.array([0, 5]), 50, seed=0)
    places = [place.candidate for place in found]
    assert len(places) == len(set(places)) == 18
    assert not {0, 5} & set(places)


def test_squares_without_data_are_no_candidates():
    valid = torch.ones(64, 64, dtype=torch.bool)
    valid[0, 0] = False
    found = candidates_of(torch.randn(3, 64, 64), [torch.randn(5, 8, 8)], valid, 160, 320)
    assert len(found) == 15
    assert (160, 320) not in set(zip(found.rows.tolist(), found.cols.tolist(), strict=True))
    assert found.features.shape == (15, 5)
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_square_of_two_classes_is_not_pure():
    logits = torch.zeros(2, 16, 32)
    logits[0, :, :16] = 9.0
    logits[0, :8, 16:] = 9.0
    logits[1, 8:, 16:] = 9.0
    valid = torch.ones(16, 32, dtype=torch.bool)
    found = candidates_of(logits, [torch.zeros(1, 1, 2)], valid, 0, 0)
    assert found.purity.tolist() == [1.0, 0.5]
    assert found.doubt[0] < 0.01
    assert found.calm.tolist() == [1.0, 1.0]


def test_a_square_whose_quarters_look_different_is_restless():
    looks = torch.zeros(3, 4, 6)
    looks[:, :2, :2] = torch.tensor([[0.0, 5.0], [5.0, 0.0]])
    looks[:, 2:, 4:] = 5.0
    valid = torch.ones(32, 48, dtype=torch.bool)
    found = candidates_of(torch.zeros(2, 32, 48), [looks, torch.zeros(8, 2, 3)], valid, 0, 0)
    assert found.features.shape == (6, 8)
    assert found.unrest[0] > 0.5
    assert found.unrest[1:].tolist() == [0.0] * 5


@pytest.mark.parametrize("problem", ["purity", "unrest"])
def test_of_two_unsure_kinds_the_one_of_one_class_comes_first(problem):
    kind = np.repeat([0, 1], [60, 50])
    bad = {"purity": [0.6, 1.0], "unrest": [3.0, 0.5]}[problem]
    scene = scene_of(np.full(110, 0.5), kind, **{problem: np.array(bad, np.float32)[kind]})
    assert kind[suggest(scene, NONE, 1, seed=0)[0].candidate] == 1


def test_candidates_in_reach_of_a_polygon_are_covered():
    scene = join([scene_of(np.ones(4), np.zeros(4, int)) for _ in range(2)])
    near = covered(scene, np.array([8.0]), np.array([8.0]), np.array([10.0]))
    assert near.tolist() == [0, 4]
