"""Prior use: what the maps lose with the prior of another image."""

import json
import math

import pytest
import torch
from conftest import tiny_config

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.training.prior_diagnostics import PriorUse, measure_prior_use
from hyseg_models import build

STANDARDISE = Standardise(Radiometry((0.0,) * 3, (1.0,) * 3))


def batch(size=2, height=64, width=64):
    labels = torch.randint(0, 5, (size, height // 16, width // 16))
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    return {
        "image": torch.randn(size, 3, height, width),
        "valid": torch.ones(size, 1, height, width, dtype=torch.bool),
        "labels": labels,
        "origin": torch.zeros(size, 2, dtype=torch.int64),
    }


class Copying(torch.nn.Module):
    """A decoder that gives the prior back, or nothing of it."""

    def __init__(self, listens):
        super().__init__()
        self.listens = listens

    def forward(self, _pyramid, guides, size):
        from hyseg_models.hosts.unetformer import Decoded

        prior = guides[8].prior
        logits = prior if self.listens else torch.eye(5)[0].view(1, 5, 1, 1).expand_as(prior)
        return Decoded(torch.nn.functional.interpolate(logits, size=size), None)


def network(*, listens):
    built = build(tiny_config().override({"head.prior": "gt"})).eval()
    built.decoder = Copying(listens)
    return built


def test_a_network_that_copies_its_prior_uses_all_of_it():
    found = measure_prior_use(network(listens=True), STANDARDISE, [batch(), batch()])
    assert found.miou == 1.0
    assert found.use == pytest.approx(1.0 - found.miou_other_prior)
    assert found.use > 0.3
    assert found.warnings() == []


def test_a_prior_that_nothing_listens_to_is_warned_of():
    found = measure_prior_use(network(listens=False), STANDARDISE, [batch()])
    assert found.use == 0.0
    assert found.miou == found.miou_other_prior == found.miou_flat_prior
    assert "dead input" in found.warnings()[0]


def test_every_level_is_read_and_survives_json():
    built = build(tiny_config()).eval()
    found = measure_prior_use(built, STANDARDISE, [batch(height=80, width=64), batch()])
    assert [level.stride for level in found.levels] == [8, 16, 32]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["use"] == found.use
    row = found.to_row()
    assert row["prior_use"] == found.use
    assert {"neighbours_8", "purity_box_16", "message_of_prior_32"} <= set(row)


def test_the_prior_of_another_image_takes_the_place_of_the_own():
    built = build(tiny_config()).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        own = built(image)
        again = built(image, prior=own.prior)
    assert torch.equal(own.logits, again.logits)
    assert again.prior is own.prior


def test_a_bare_host_has_no_prior_to_be_used():
    bare = build(tiny_config().override({"head.kind": "none"})).eval()
    with pytest.raises(TypeError, match="without prior"):
        measure_prior_use(bare, STANDARDISE, [batch()])


def test_half_a_point_is_the_border_of_a_dead_input():
    assert PriorUse(0.5, 0.4951, 0.5, ()).warnings() != []
    assert PriorUse(0.5, 0.4949, 0.5, ()).warnings() == []
    assert PriorUse(math.nan, 0.4, 0.5, ()).warnings() == []
