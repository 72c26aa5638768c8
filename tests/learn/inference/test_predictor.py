"""Batches of windows, as they reach the network."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.inference.predictor import MANY, Predictor
from hyseg_cli.learn.model.weights import load_model


@pytest.fixture
def windows():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (5, 3, 64, 64), generator=generator, dtype=torch.uint8)
    valid = torch.rand(5, 1, 64, 64, generator=generator) > 0.1
    origin = torch.arange(0, 5 * 128, 128).reshape(5, 1) // 2 * torch.ones(2, dtype=torch.int64)
    return image, valid, origin


def test_a_compiled_network_meets_batches_of_one_size(tiny_model, windows, monkeypatch):
    sizes = []

    def noting(network, *, dynamic):
        assert not dynamic  # a network for tiles of any size would be slower

        def run(image, *others, **options):
            sizes.append(len(image))
            return network(image, *others, **options)

        return run

    plain = Predictor(load_model(tiny_model), torch.device("cpu"))
    monkeypatch.setattr(torch, "compile", noting)
    predict = Predictor(load_model(tiny_model), torch.device("cpu"), compiled=True)
    predict._at_once = MANY
    for part in (slice(0, 3), slice(3, 5), slice(2, 3)):
        batch = [values[part] for values in windows]
        torch.testing.assert_close(predict(*batch), plain(*batch), rtol=0, atol=1e-5)
    assert sizes == [3, 3, 3]


def test_predicting_leaves_the_network_as_it_was(tiny_model, windows):
    model = load_model(tiny_model)
    model.network.train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    config, layouts = model.network.config, [p.stride() for p in model.network.parameters()]
    Predictor(model, torch.device("cpu"), seed=7, noise="zero")(*windows)
    assert model.network.training
    assert model.network.config is config
    assert [p.stride() for p in model.network.parameters()] == layouts
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_network_that_does_not_compile_is_told_of(tiny_model, windows, monkeypatch):
    def failing(*_, **__):
        message = "no C++ compiler\nand a page of advice"
        raise TorchDynamoException(message)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: failing)
    predict = Predictor(load_model(tiny_model), torch.device("cpu"), compiled=True)
    with pytest.raises(HysegError) as told:
        predict(*windows)
    assert "(no C++ compiler)" in told.value.message
    assert "`compiled`" in told.value.hint


@pytest.mark.slow
def test_a_compiled_network_says_the_same(tiny_model, windows):
    """Takes minutes: the compiler does."""
    plain = Predictor(load_model(tiny_model), torch.device("cpu"))
    compiled = Predictor(load_model(tiny_model), torch.device("cpu"), compiled=True)
    torch.testing.assert_close(compiled(*windows), plain(*windows), rtol=0, atol=1e-4)
