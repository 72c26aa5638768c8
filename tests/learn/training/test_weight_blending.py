"""Weights between two states of a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hyseg_cli.learn.training.weight_blending import Interpolation


def states():
    """A network, what it was before, and what it was taught."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for tensor in network.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) * 10 if tensor.is_floating_point() else tensor + 7)
    return network, before, {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_weights_lie_on_the_line_and_counts_stay_as_taught(share):
    network, before, taught = states()
    Interpolation(network, before).go(share)
    for name, tensor in network.state_dict().items():
        expected = before[name] + share * (taught[name] - before[name])
        if not tensor.is_floating_point():
            expected = taught[name]
        torch.testing.assert_close(tensor, expected, msg=name)


def test_both_ends_are_exact_from_wherever_one_comes():
    network, before, taught = states()
    weights = Interpolation(network, before)
    for share, end in ((0.7, None), (1.0, taught), (0.2, None), (0.0, before), (1.0, taught)):
        weights.go(share)
        for name, tensor in network.state_dict().items():
            if end is not None and tensor.is_floating_point():
                assert torch.equal(tensor, end[name]), name


def test_what_was_not_taught_stays_as_it_was():
    network, before, taught = states()
    frozen = Interpolation(network, taught)
    for share in (0.1, 1 / 3, 0.9):
        frozen.go(share)
        assert all(torch.equal(t, taught[n]) for n, t in network.state_dict().items())
    assert before.keys() == taught.keys()


def test_weights_that_were_not_there_before_are_kept():
    network, before, taught = states()
    Interpolation(network, {"0.weight": before["0.weight"]}).go(0.0)
    state = network.state_dict()
    assert torch.equal(state["0.weight"], before["0.weight"])
    assert all(torch.equal(state[name], taught[name]) for name in taught if name != "0.weight")
