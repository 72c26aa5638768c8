import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hyseg_models import build, preset
from hyseg_models.cost import measure_cost


def test_the_parts_add_up_to_what_the_counter_sees():
    config = preset("cpu_smoke")
    cost = measure_cost(config, 128)
    with torch.device("meta"):
        network = build(config).eval().requires_grad_(False)
        image = torch.empty(1, 3, 128, 128)
    with FlopCounterMode(display=False) as counter:
        network(image)
    neighbourhood = sum(49 * (7 + 32) * (128 // stride) ** 2 for stride in (8, 16, 32))
    assert cost.whole.macs == counter.get_total_flops() // 2 + neighbourhood
    assert cost.whole.parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "side", "part", "giga"),
    [
        # UNetFormer with ResNet-18: 11.7; the paper's prior: 50.7 at 512 and 460.8 at 1024
        ("default", 512, "bare", 11.71),
        ("paper", 512, "prior", 50.6),
        ("paper", 1024, "prior", 460.1),
        # the method's base, light and mid priors: 5.5, 2.5 and 8.6
        ("default", 512, "prior", 5.70),
        ("light", 512, "prior", 2.57),
        ("mid", 512, "prior", 8.76),
    ],
)
def test_costs_are_those_of_the_method(name, side, part, giga):
    cost = measure_cost(preset(name), side)
    found = cost.bare_host if part == "bare" else cost.parts[part]
    assert found.macs / 1e9 == pytest.approx(giga, rel=5e-3)


@pytest.mark.parametrize(("name", "limit"), [("shared", 0.60), ("light-shared", 0.30)])
def test_a_prior_on_the_hosts_features_is_cheap(name, limit):
    cost = measure_cost(preset(name), 512)
    added = cost.parts["condition"].macs + cost.parts["prior"].macs
    assert added <= limit * cost.bare_host.macs
