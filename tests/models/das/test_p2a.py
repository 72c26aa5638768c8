import math

import pytest
import torch

from hyseg_models.config.config import P2AConfig
from hyseg_models.das.p2a import P2A


def all_valid(height=8, width=8):
    return torch.ones(1, 1, height, width, dtype=torch.bool)


def one_hot_halves():
    """Two classes with a straight edge between columns 3 and 4 of 8."""
    prior = torch.zeros(1, 2, 8, 8)
    prior[:, 0, :, :4] = 1
    prior[:, 1, :, 4:] = 1
    return prior


def fixed(sigma, **options):
    return P2A(P2AConfig(sigma="fixed", sigma_init=sigma, sigma_min=0.0, **options))


def test_rows_sum_to_one():
    prior = torch.rand(2, 5, 9, 7).softmax(dim=1)
    valid = torch.rand(2, 1, 9, 7) > 0.3
    affinity = P2A(P2AConfig())(prior, valid)
    torch.testing.assert_close(affinity.sum(dim=1), torch.ones(2, 9, 7))


def test_no_weight_leaves_the_map_or_reaches_empty_cells():
    valid = all_valid()
    valid[..., 2, 2] = False
    affinity = fixed(0.5, kernel=3)(torch.rand(1, 3, 8, 8), valid)[0]
    assert (affinity[:3, 0] == 0).all()
    assert (affinity[[0, 3, 6], :, 0] == 0).all()
    # seen from (3, 3), the cell (2, 2) is offset 0; from (1, 2) it is offset 7
    assert affinity[0, 3, 3] == 0
    assert affinity[7, 1, 2] == 0


def test_a_constant_prior_gives_the_mean_over_valid_neighbours():
    affinity = P2A(P2AConfig(kernel=3))(torch.full((1, 4, 8, 8), 0.25), all_valid())[0]
    torch.testing.assert_close(affinity[:, 4, 4], torch.full((9,), 1 / 9))
    assert affinity[4, 0, 0].item() == pytest.approx(1 / 4)


def test_a_vanishing_bandwidth_gives_the_identity():
    prior = torch.rand(1, 3, 8, 8)
    affinity = fixed(1e-4, kernel=3)(prior, all_valid())
    torch.testing.assert_close(affinity[:, 4], torch.ones(1, 8, 8))


def test_the_straight_edge_keeps_its_mass_as_computed_by_hand():
    # A cell beside the edge has 28 of 49 neighbours on its side; d = 2 across.
    prior = torch.zeros(1, 2, 16, 16)
    prior[:, 0, :, :8] = 1
    prior[:, 1, :, 8:] = 1
    for sigma, expected in ((1.0, 0.784), (0.5, 0.986)):
        affinity = fixed(sigma)(prior, all_valid(16, 16))[0, :, 8, 7].view(7, 7)
        assert affinity[:, :4].sum() == pytest.approx(expected, abs=1e-3)


def test_softmax_of_the_exponential_hardly_tells_neighbours_apart():
    affinity = fixed(1.0, affinity="softmax_exp", mask=False, kernel=7)(
        one_hot_halves(), all_valid()
    )[0, :, 4, 3].view(7, 7)
    assert affinity[:, :4].sum() == pytest.approx(0.715, abs=1e-3)
    assert affinity.max() / affinity.min() < math.e


def test_flipping_the_prior_flips_the_affinity():
    prior = torch.rand(1, 3, 8, 8)
    module = fixed(0.5, kernel=5)
    there = module(prior, all_valid()).view(5, 5, 8, 8)
    back = module(prior.flip(-1), all_valid()).view(5, 5, 8, 8)
    torch.testing.assert_close(back, there.flip(1).flip(-1))


def test_the_learnable_bandwidth_starts_where_asked_and_stays_positive():
    module = P2A(P2AConfig(sigma_init=0.5, sigma_min=0.05))
    assert module.bandwidth().item() == pytest.approx(0.5)
    with torch.no_grad():
        module.bandwidth.raw.fill_(-100.0)
    assert module.bandwidth().item() == pytest.approx(0.05)


def test_half_precision_inputs_are_computed_in_single():
    prior = torch.rand(1, 3, 8, 8)
    module = fixed(0.5)
    with torch.autocast("cpu", torch.bfloat16):
        affinity = module(prior.bfloat16(), all_valid())
    assert affinity.dtype == torch.float32
    assert affinity.isfinite().all()


def test_each_group_has_a_bandwidth_of_its_own():
    prior = torch.rand(2 * 3, 2, 6, 6)
    valid = torch.ones(6, 1, 6, 6, dtype=torch.bool)
    sigmas = (0.2, 0.5, 1.0)
    p2a = P2A(P2AConfig(groups=3, sigma="fixed", sigma_scope="group"), 6)
    p2a.bandwidth.raw = torch.tensor(sigmas).view(3, 1)
    found = p2a(prior, valid)
    for group, sigma in enumerate(sigmas):
        alone = fixed(sigma)(prior[group::3], valid[group::3])
        torch.testing.assert_close(found[group::3], alone)


def test_a_class_with_a_wide_bandwidth_of_its_own_is_not_looked_at():
    prior = torch.rand(2, 3, 8, 8)
    valid = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    p2a = P2A(P2AConfig(sigma="fixed", sigma_scope="class"), 3)
    p2a.bandwidth.raw = torch.tensor([[0.3, 0.3, 1e4]])
    torch.testing.assert_close(p2a(prior, valid), fixed(0.3)(prior[:, :2], valid))
    p2a.bandwidth.raw = torch.full((1, 3), 0.3)
    torch.testing.assert_close(p2a(prior, valid), fixed(0.3)(prior, valid), rtol=1e-4, atol=1e-6)


def test_the_bandwidth_of_each_class_gets_a_gradient():
    p2a = P2A(P2AConfig(sigma_scope="class"), 4)
    prior = torch.rand(2, 4, 8, 8)
    p2a(prior, torch.ones(2, 1, 8, 8, dtype=torch.bool))[:, 24].sum().backward()
    assert p2a.bandwidth.raw.grad.shape == (1, 4)
    assert (p2a.bandwidth.raw.grad != 0).all()
