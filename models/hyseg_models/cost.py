"""What a network costs: parameters and multiply-adds, part by part, without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hyseg_models.config.config import HySegConfig
from hyseg_models.das.das import DAS, Affinity, AffinityMessage
from hyseg_models.hyseg import HySeg, build


@dataclass(frozen=True)
class PartCost:
    """Cost of one part of a network."""

    parameters: int
    macs: int
    """Multiply-adds of one image."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network for one image; the parts add up to the whole."""

    parts: dict[str, PartCost]
    """`host`, and as far as there are any, `condition`, `prior`, `segmentor` and `P2A + DAS`."""
    bare_host: PartCost
    """The host alone, with the blocks that DAS replaces: what a comparison starts from."""

    @property
    def whole(self) -> PartCost:
        """The sum of the parts."""
        return PartCost(
            sum(part.parameters for part in self.parts.values()),
            sum(part.macs for part in self.parts.values()),
        )


def measure_cost(config: HySegConfig, side: int) -> Cost:
    """Cost of one image of side x side pixels.

    Counted are convolutions, matrix products and attention by torch's counter, and the two
    neighbourhood operators by their size, K^2 (C + D) per cell; pointwise work is not.

    Raises:
        ConfigError: If the configuration cannot be built.
    """
    with torch.device("meta"):
        network = build(config).eval().requires_grad_(False)
        bare = build(config.override({"head.kind": "none"})).eval().requires_grad_(False)
        image = torch.empty(1, config.bands, side, side)
        labels = torch.zeros(1, side, side, dtype=torch.int64)
    counts = _count(network, image, labels)
    parts = {}
    for name, path in (
        ("condition", "prior.condition"),
        ("prior", "prior.net"),
        ("segmentor", "segmentor"),
    ):
        if path.partition(".")[0] in dict(network.named_children()):
            parts[name] = _part(network, [path], counts)
    guided = [path for path, module in network.named_modules() if isinstance(module, DAS)]
    if guided:
        around = [name for name in ("pyramid", "adapter") if getattr(network, name) is not None]
        inside = [path for path in guided if not path.startswith("adapter")]
        das = _part(network, around + inside, counts)
        parts["P2A + DAS"] = PartCost(das.parameters, das.macs + counts[_NEIGHBOURHOOD])
    total = counts["Global"] + counts[_NEIGHBOURHOOD]
    host = PartCost(
        _parameters(network) - sum(part.parameters for part in parts.values()),
        total - sum(part.macs for part in parts.values()),
    )
    bare_host = PartCost(_parameters(bare), _count(bare, image, labels)["Global"])
    return Cost({"host": host, **parts}, bare_host)


_NEIGHBOURHOOD = "neighbourhood"
"""Key of the multiply-adds that torch's counter does not see."""


def _part(network: HySeg, paths: list[str], counts: dict[str, int]) -> PartCost:
    modules = [network.get_submodule(path) for path in paths]
    return PartCost(
        sum(_parameters(module) for module in modules),
        sum(counts.get(f"HySeg.{path}", 0) for path in paths),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _count(network: HySeg, image: Tensor, labels: Tensor) -> dict[str, int]:
    """Multiply-adds by module path, of all (`Global`), and of the neighbourhood operators."""
    neighbourhood = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal neighbourhood
        if isinstance(module, Affinity):
            features, guide = inputs
            compared = module.compared(features, guide)[0]
            neighbourhood += output.shape[1] * compared.numel()
        if isinstance(module, AffinityMessage):
            config = module.config
            slots = config.kernel**2 * len(config.dilations) * config.steps
            neighbourhood += slots * inputs[0][0].numel()

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with FlopCounterMode(display=False) as counter:
        network(image, labels=labels)
    for hook in hooks:
        hook.remove()
    counts = {
        module: sum(by_operator.values()) // 2
        for module, by_operator in counter.get_flop_counts().items()
    }
    return counts | {_NEIGHBOURHOOD: neighbourhood}
