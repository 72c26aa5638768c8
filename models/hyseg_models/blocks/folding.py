"""Batch norms folded into the convolutions before them, for a network that only maps.

In evaluation a batch norm multiplies each channel by a constant and adds another. The convolution
before it can do both, which saves a pass over its result.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hyseg_models.blocks.backbones import TimmPyramid

TOLERANCE = 1e-3
"""Change of a backbone's features that is put down to rounding, as a share of the largest."""


def fold_batch_norms(network: nn.Module, image: Tensor) -> None:
    """Fold batch norms into convolutions; in evaluation, outputs change by rounding alone.

    The network is altered. In our blocks, a `Sequential` says that a norm follows a convolution. In
    a timm backbone the order of the modules suggests it, so its norms are folded only if it still
    sees the same in an image.

    Args:
        network: In evaluation mode.
        image: (B, bands, H, W) for the backbones, H and W multiples of 32.
    """
    for backbone in [module for module in network.modules() if isinstance(module, TimmPyramid)]:
        folded = deepcopy(backbone)
        if _fold_all(folded) and _see_the_same(backbone, folded, image):
            backbone.body = folded.body
    for module in list(network.modules()):
        if _is_sequence(module):
            _fold_children(module)


def _fold_all(network: nn.Module) -> bool:
    """Fold the norms behind convolutions anywhere in a network; whether there were any."""
    return sum(_fold_children(module) for module in list(network.modules())) > 0


def _fold_children(parent: nn.Module) -> int:
    """Fold the norms that stand right behind a convolution among the children of a module.

    Returns how many that were.
    """
    pairs = [
        (convolution, name, norm)
        for (_, before), (name, norm) in pairwise(list(parent.named_children()))
        if isinstance(convolution := _last_of(before), nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.track_running_stats
        and norm.num_features == convolution.out_channels
    ]
    for convolution, name, norm in pairs:
        _fold(convolution, norm)
        # timm's norms bring their activation along.
        setattr(parent, name, getattr(norm, "act", nn.Identity()))
    return len(pairs)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        message = "a batch norm without running statistics cannot be folded"
        raise ValueError(message)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )


def _last_of(module: nn.Module) -> nn.Module:
    """The module, or the last layer of a `Sequential`."""
    while isinstance(module, nn.Sequential) and _is_sequence(module) and len(module) > 0:
        module = module[-1]
    return module


def _is_sequence(module: nn.Module) -> bool:
    """Whether a module does nothing but run its layers in their order."""
    return type(module).forward is nn.Sequential.forward


@torch.inference_mode()
def _see_the_same(before: TimmPyramid, after: TimmPyramid, image: Tensor) -> bool:
    return all(
        (a - b).abs().max() <= TOLERANCE * a.abs().max()
        for a, b in zip(before(image), after(image), strict=True)
    )
