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


def test_features_are_varied_in_the_loss_alone_and_alike_in_a_run_that_goes_on(tiny_model):
    network = load_model(tiny_model).network
    standardise = Standardise(Radiometry((120.0,) * 3, (50.0,) * 3))
    batch = {
        "image": torch.randn(4, 3, 64, 64) * torch.tensor([10, 20, 40, 60]).view(4, 1, 1, 1) + 120,
        "valid": torch.ones(4, 1, 64, 64, dtype=torch.bool),
        "labels": torch.randint(0, network.config.classes, (4, 64, 64)),
        "origin": torch.zeros(4, 2, dtype=torch.int64),
    }

    def losses(vary):
        recipe = Recipe(steps=9, learning_rate=1e-4, encoder_rate=1e-4, vary_features=vary)
        stage = SegmentationStage(network, standardise, recipe).eval()
        found = []
        for _ in range(2):
            torch.manual_seed(recipe.seed_of(7, 0))
            found.append(stage.loss(batch, 7, (0, 1)).item())
        return found, stage.drawn(batch)["prediction"]

    (plain, predicted), (varied, still) = losses(0.0), losses(1.0)
    assert plain[0] == plain[1]
    assert varied[0] == varied[1] != plain[0]
    assert torch.equal(predicted, still)
