"""Readings of what the prior does inside a network, held against what is known by hand."""

import math

import pytest
import torch
from conftest import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_models import build
from hyseg_models.config.config import HeadConfig, P2AConfig
from hyseg_models.das.das import DAS
from hyseg_models.das.pyramid import Guide
from hyseg_models.influence import listening, read_level
from hyseg_models.prior.diagnostics import effective_neighbours, noise_variance


@settings(deadline=None)
@given(count=st.integers(1, 49))
def test_neighbours_of_equal_weight_count_as_many_as_they_are(count):
    affinity = torch.zeros(1, 49, 2, 2)
    affinity[:, :count] = 1.0 / count
    torch.testing.assert_close(effective_neighbours(affinity), torch.full((1, 2, 2), float(count)))


@settings(deadline=None)
@given(seed=st.integers(0, 100))
def test_no_affinity_listens_to_more_than_all_neighbours_or_less_than_one(seed):
    torch.manual_seed(seed)
    found = effective_neighbours((3 * torch.randn(2, 9, 4, 4)).softmax(dim=1))
    assert (found >= 1 - 1e-5).all()
    assert (found <= 9 + 1e-4).all()


def test_draws_that_are_alike_have_no_variance():
    one = torch.randn(1, 2, 5, 8, 8)
    assert noise_variance(one.expand(4, -1, -1, -1, -1)) == 0
    assert noise_variance(torch.randn(64, 2, 5, 8, 8)).item() == pytest.approx(1.0, abs=0.02)


def halves(size=16):
    """Labels of two classes with a straight edge, and the guide of a prior that knows them."""
    labels = torch.zeros(1, size, size, dtype=torch.int64)
    labels[:, :, size // 2 :] = 1
    one_hot = torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    return labels, Guide(one_hot, torch.ones(1, 1, size, size, dtype=torch.bool))


def block(**p2a):
    config = HeadConfig(p2a=P2AConfig(**p2a), zero_init=False, drop_path=0.0)
    return DAS(config, 2).eval()


def test_a_prior_that_is_the_labels_is_as_pure_as_the_labels():
    labels, guide = halves()
    reading = read_level(block(), torch.randn(1, 64, 16, 16), guide, labels)
    assert reading.stride == 1
    assert reading.purity == reading.purity_labels > 0.9
    # Inside, a cell at the edge has 28 of 49 neighbours on its own side.
    assert 0.55 < reading.purity_box < 0.6
    assert reading.neighbours < reading.neighbours_box


def test_a_flat_prior_is_a_box_and_has_no_share_in_the_messages():
    labels, guide = halves()
    flat = Guide(torch.full_like(guide.prior, 0.5), guide.valid)
    reading = read_level(block(), torch.randn(1, 64, 16, 16), flat, labels)
    assert reading.neighbours == pytest.approx(reading.neighbours_box, rel=1e-4)
    assert reading.purity == pytest.approx(reading.purity_box, rel=1e-4)
    assert reading.message_of_prior < 1e-5
    assert reading.message > 0


def test_a_block_that_starts_as_the_identity_says_nothing():
    labels, guide = halves()
    silent = DAS(HeadConfig(), 2).eval()
    reading = read_level(silent, torch.randn(1, 64, 16, 16), guide, labels)
    assert reading.message == reading.attention == 0.0


@pytest.mark.parametrize("changes", [{"groups": 2}, {"dilations": (1, 2)}])
def test_groups_and_rings_are_read_too(changes):
    labels, guide = halves()
    reading = read_level(block(**changes), torch.randn(1, 64, 16, 16), guide, labels)
    assert 1 <= reading.neighbours <= 49
    assert reading.purity > reading.purity_box


def test_a_block_without_the_affinity_of_a_prior_has_no_reading():
    labels, guide = halves()
    config = HeadConfig(prior="none", p2a=P2AConfig(source="feature"))
    assert read_level(DAS(config, 0).eval(), torch.randn(1, 64, 16, 16), guide, labels) is None


def test_listening_hears_every_level_and_changes_nothing():
    network = build(tiny_config()).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = network(image).logits
        with listening(network) as heard:
            during = network(image).logits
        assert torch.equal(before, during)
        network(image)
    assert sorted(features.shape[-1] for _, features, _ in heard) == [3, 6, 12]
    labels = torch.randint(0, 5, (1, 64, 96))
    for das, features, guide in heard:
        reading = read_level(das, features, guide, labels)
        assert reading.stride * features.shape[-1] == 96
        assert all(math.isfinite(value) for value in vars(reading).values())
