"""Batch norms folded into convolutions."""

from copy import deepcopy
from types import MethodType

import pytest
import torch
from torch import nn

from hyseg_models import build, preset
from hyseg_models.blocks.backbones import build_backbone
from hyseg_models.blocks.folding import fold_batch_norms
from hyseg_models.blocks.layers import conv_norm_act, separable_conv

BANDS = 4


def used(network):
    """The network with statistics and scales that training might have left."""
    generator = torch.Generator().manual_seed(0)
    for norm in norms_of(network):
        for values, low, high in (
            (norm.running_mean, -0.1, 0.1),
            (norm.running_var, 0.5, 2.0),
            (norm.weight.data, 0.5, 1.5),
            (norm.bias.data, -0.1, 0.1),
        ):
            values.uniform_(low, high, generator=generator)
    return network.eval()


def norms_of(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def folded(network):
    other = deepcopy(network)
    fold_batch_norms(other, noise(BANDS))
    return other


def noise(bands):
    return torch.randn(1, bands, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "left"),
    [
        # Norms before a convolution stay: the messages of three levels, and more in some hosts.
        ("default", 3),
        ("fast+plain", 3),
        ("vit+plain", 3),
        ("lsknet-t", 29),
        ("dcswin-t", 3),
        ("paper", 3),
    ],
)
def test_a_folded_network_has_the_same_logits(name, left):
    changes = {"bands": BANDS, "sample.noise": "zero"}
    network = used(build(preset(name).override(changes)))
    image = noise(BANDS)
    after = folded(network)
    assert len(norms_of(after)) == left
    with torch.inference_mode():
        torch.testing.assert_close(after(image).logits, network(image).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "tf_efficientnet_lite0", "mobilenetv3_small_100", "regnety_002"],
)
def test_backbones_keep_their_features_and_lose_their_norms(name):
    backbone = used(build_backbone(name, bands=BANDS, strides=(4, 8, 16, 32)))
    after = folded(nn.ModuleList([backbone]))[0]
    assert not norms_of(after)
    with torch.inference_mode():
        for expected, found in zip(backbone(noise(BANDS)), after(noise(BANDS)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def norm_first(block, x):
    """A residual block that uses its norms before the convolutions behind which they stand."""
    return block.act2(x + block.conv2(block.bn2(block.conv1(block.bn1(x)))))


def test_a_backbone_whose_modules_are_out_of_order_keeps_its_norms():
    backbone = used(build_backbone("resnet18", bands=BANDS, strides=(4, 8)))
    first = backbone.body.layer1[0]
    first.forward = MethodType(norm_first, first)
    after = folded(nn.ModuleList([backbone]))[0]
    # The shortcut that halves the map is a sequence, which says its order itself.
    assert len(norms_of(after)) == len(norms_of(backbone)) - 1
    with torch.inference_mode():
        for expected, found in zip(backbone(noise(BANDS)), after(noise(BANDS)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_layers_in_a_row_are_folded_and_norms_before_convolutions_are_not():
    layers = used(
        nn.Sequential(
            conv_norm_act(BANDS, 8, 3),
            nn.Sequential(separable_conv(8, 8, 3, padding=1), nn.BatchNorm2d(8)),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 1),
        )
    )
    after = folded(layers)
    assert len(norms_of(after)) == 1
    torch.testing.assert_close(after(noise(BANDS)), layers(noise(BANDS)), rtol=1e-4, atol=1e-5)
