"""Test-time augmentation sees the same place, with the same noise."""

from __future__ import annotations

import pytest
import torch

from hyseg_cli.learn.inference.augmentation import VIEWS, View
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.weights import load_model
from hyseg_models.blocks.symmetry import SYMMETRIES, turned, turned_back
from hyseg_models.prior.noise import position_noise


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_symmetry_can_be_undone(symmetry):
    x = torch.randn(2, 3, 5, 7)
    assert torch.equal(turned_back(turned(x, symmetry), symmetry), x)


def test_the_eight_symmetries_differ():
    x = torch.arange(9.0).view(3, 3)
    assert len({tuple(turned(x, s).flatten().tolist()) for s in SYMMETRIES}) == 8


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_the_noise_of_the_prior_goes_with_the_image(tiny_model, symmetry, monkeypatch):
    network = load_model(tiny_model).network.eval()
    seen = []
    draw = type(network.prior)._noises

    def watching(*arguments, **options):
        seen.append(draw(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(type(network.prior), "_noises", watching)
    image, origin = torch.randn(1, 3, 64, 96), torch.tensor([[320, -64]])
    with torch.inference_mode():
        network(turned(image, symmetry), None, origin, symmetry=symmetry)
    cells = origin // network.config.prior.stride
    height, width = (n // network.config.prior.stride for n in image.shape[-2:])
    expected = position_noise(cells, 5, height, width, network.config.sample.seed)
    torch.testing.assert_close(turned_back(seen[0][0], symmetry), expected)


def test_averaging_over_the_square_makes_the_answer_turn_with_the_question(tiny_model):
    # Only with all eight views, and noise that turns along, does this hold.
    model = load_model(tiny_model)
    image = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    valid, origin = torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.long)
    predict = Predictor(model, torch.device("cpu"), noise="zero", views=VIEWS["d4"])
    straight = predict(image, valid, origin)
    for symmetry in (1, 6):
        found = predict(turned(image, symmetry), valid, origin)
        torch.testing.assert_close(turned_back(found, symmetry), straight, atol=1e-5, rtol=0)
    once = Predictor(model, torch.device("cpu"), noise="zero")
    assert (
        turned_back(once(turned(image, 1), valid, origin), 1) - once(image, valid, origin)
    ).abs().max() > 1e-4


@pytest.mark.parametrize("scale", [0.75, 1.25])
def test_a_magnified_view_lies_back_on_the_window(scale):
    view = View(scale=scale)
    image = torch.rand(1, 3, 8, 8).repeat_interleave(16, 2).repeat_interleave(16, 3)
    valid = torch.ones(1, 1, 128, 128, dtype=torch.bool)
    seen, seen_valid, origin = view.of(image, valid, torch.tensor([[-96, 640]]))
    assert seen.shape[-1] == 128 * scale == seen_valid.shape[-1]
    assert (origin % 32 == 0).all()
    back = view.undo(seen, (128, 128))
    assert (back - image).abs().mean() < 0.04


@pytest.mark.parametrize("name", VIEWS)
def test_probabilities_still_sum_to_one(tiny_model, name):
    predict = Predictor(load_model(tiny_model), torch.device("cpu"), views=VIEWS[name])
    image = torch.randint(0, 255, (2, 3, 96, 64), dtype=torch.uint8)
    valid, origin = torch.ones(2, 1, 96, 64, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.long)
    found = predict(image, valid, origin)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 96, 64), atol=1e-4, rtol=0)
