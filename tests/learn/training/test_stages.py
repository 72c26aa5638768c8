"""What training a stage leaves alone."""

import torch

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_cli.learn.training.stages import SegmentationStage


def test_statistics_that_are_kept_stay_as_they_are(tiny_model):
    network = load_model(tiny_model).network
    standardise = Standardise(Radiometry((120.0,) * 3, (50.0,) * 3))
    for keeps in (True, False):
        recipe = Recipe(steps=1, learning_rate=1e-4, encoder_rate=1e-4, keeps_statistics=keeps)
        stage = SegmentationStage(network, standardise, recipe).train()
        before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
        network(torch.randn(2, 3, 64, 64) + 3.0)
        after = network.state_dict()
        changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
        assert bool(changed) != keeps
        assert all(parameter.requires_grad for parameter in stage.network.decoder.parameters())


def test_bandwidths_learn_ten_times_as_fast_and_do_not_shrink(tiny_model):
    network = load_model(tiny_model).network
    recipe = Recipe(steps=1, learning_rate=2e-4, encoder_rate=1e-4)
    stage = SegmentationStage(network, Standardise(Radiometry((0.0,) * 3, (1.0,) * 3)), recipe)
    groups = stage.configure_optimizers()["optimizer"].param_groups
    bandwidths = [p for name, p in network.named_parameters() if "bandwidth" in name]
    assert len(bandwidths) == 3
    found = [g for g in groups if any(p is bandwidths[0] for p in g["params"])]
    assert [(g["initial_lr"], g["weight_decay"]) for g in found] == [(2e-3, 0.0)]
    assert {id(p) for p in found[0]["params"]} == set(map(id, bandwidths))
    everything = [id(p) for g in groups for p in g["params"]]
    assert len(everything) == len(set(everything))
