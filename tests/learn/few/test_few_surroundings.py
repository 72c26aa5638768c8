"""What a head learns from pixels around polygons that it is sure of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyseg_cli.learn.few.probe import Samples, fit_probe, fit_with_surroundings


def clouds(shares, polygons, seed=0, apart=2.0, pixels=10):
    """Pixels of two classes around 0 and `apart` in the first of 8 dimensions."""
    rng = np.random.default_rng(seed)
    channel = rng.choice(2, polygons, p=shares).repeat(pixels)
    features = rng.normal(size=(len(channel), 8))
    features[:, 0] += apart * channel
    return torch.from_numpy(features).float(), channel


@pytest.fixture
def drawn():
    """As many polygons of the rare class as of the common one."""
    features, channel = clouds((0.5, 0.5), 16)
    channel[:80] = 0
    features[:80, 0] -= features[:80, 0].mean()
    return Samples(features, channel, np.arange(16).repeat(10))


def errors(fitted, features, channel):
    found = (features @ fitted.weight.T + fitted.bias).argmax(dim=1).numpy()
    return (found != channel).mean()


def test_a_head_learns_how_common_its_classes_are(drawn):
    features, channel = clouds((0.95, 0.05), 400, seed=1)
    alone = fit_probe(drawn, 2, seed=0)
    both = fit_with_surroundings(alone, drawn, features)
    assert errors(both, features, channel) < errors(alone, features, channel)
    assert both.shares is not None
    assert sum(both.shares) == pytest.approx(1.0)
    assert both.shares[0] > 0.8


def test_nothing_is_learned_where_nothing_is_clear(drawn):
    alone = fit_probe(drawn, 2, seed=0)
    assert fit_with_surroundings(alone, drawn, torch.zeros(0, 8)) is alone
    between = -alone.bias @ torch.linalg.pinv(alone.weight).T
    assert fit_with_surroundings(alone, drawn, between.expand(20, -1)) is alone


def test_what_was_said_of_polygons_left_out_stays(drawn):
    alone = fit_probe(drawn, 2, seed=0)
    both = fit_with_surroundings(alone, drawn, clouds((0.5, 0.5), 50)[0])
    assert both.held_out is alone.held_out
    assert both.penalty == alone.penalty
