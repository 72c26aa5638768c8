from dataclasses import replace

import pytest
import torch
from conftest import tiny_config
from timm.layers import resample_abs_pos_embed

from hyseg_models import ConfigError, build, preset, segmentation_loss
from hyseg_models.blocks.backbones import is_plain_vit
from hyseg_models.blocks.vit import PlainViT, TokenPyramid
from hyseg_models.config.config import HostConfig


def tiny_vit(**changes):
    """The network of `vit`, with a transformer and a prior that run in a moment."""
    config, small = preset("vit"), tiny_config()
    host = replace(config.host, backbone="test_vit", depths=(3, 6), dim=32, stem=8, **changes)
    return replace(
        config,
        classes=5,
        host=host,
        head=replace(config.head, dim=32),
        prior=replace(
            config.prior,
            net=replace(small.prior.net, blocks=1, attn_ds=()),
            condition=replace(config.prior.condition, width=16, detail=8),
        ),
    )


def test_plain_transformers_are_told_from_pyramids():
    assert is_plain_vit("vit_small_patch14_dinov2")
    assert is_plain_vit("test_vit")
    assert not is_plain_vit("resnet18")
    assert not is_plain_vit("swin_tiny_patch4_window7_224")
    assert not is_plain_vit("lsknet_t")


@pytest.mark.parametrize("token_px", [8, 16, 32])
@pytest.mark.parametrize("size", [(32, 64), (96, 32)])
def test_tokens_lie_on_the_grid_of_their_stride(token_px, size):
    host = HostConfig(backbone="test_vit", depths=(2, 6), token_px=token_px)
    body = PlainViT(3, host, pretrained=False).eval()
    (features,) = body(torch.randn(2, 3, *size))
    assert features.shape == (2, 2 * 64, size[0] // token_px, size[1] // token_px)
    pyramid = TokenPyramid(3, host, body)(torch.randn(2, 3, *size), [features])
    for stride, channels, level in zip(
        (4, 8, 16, 32), TokenPyramid(3, host, body).channels, pyramid, strict=True
    ):
        assert level.shape == (2, channels, size[0] // stride, size[1] // stride)


def test_the_last_blocks_learn_and_the_tokens_before_them_stay():
    plain = preset("vit+plain")
    head = replace(plain.head, dim=32)
    config = replace(plain, classes=5, host=tiny_vit().host, head=head)
    network = build(config).train()
    assert not any(p.requires_grad for p in network.backbone.parameters())
    network.unfreeze(after=4)
    image, labels = torch.rand(2, 3, 64, 64), torch.randint(5, (2, 64, 64))
    early, late = (part.detach().clone() for part in network.backbone(image)[0].chunk(2, dim=1))
    learned = [p for p in network.parameters() if p.requires_grad]
    segmentation_loss(network(image, labels=labels), labels).backward()
    torch.optim.SGD(learned, lr=0.1).step()
    named = network.backbone.body.named_parameters()
    moving = {name.split(".")[1] for name, p in named if p.grad is not None}
    assert moving == {"4", "5"}
    now, then = network.backbone(image)[0].chunk(2, dim=1)
    assert torch.equal(now, early)
    assert not torch.equal(then, late)
    with pytest.raises(ConfigError, match="no blocks after the first 6"):
        network.unfreeze(after=6)


def test_tokens_are_those_of_the_blocks_that_were_named():
    body = PlainViT(3, HostConfig(backbone="test_vit", depths=(2, 5)), pretrained=False).eval()
    image = torch.randn(1, 3, 160, 160)
    tokens = body.body.patch_embed(image)
    if tokens.dim() == 4:
        tokens = tokens.flatten(1, 2)
    x = body.body.norm_pre(body.body._pos_embed(body.body.patch_embed(image)))
    found = []
    for number, block in enumerate(body.body.blocks, 1):
        x = block(x)
        if number in (2, 5):
            cells = x[:, body.body.num_prefix_tokens :]
            found.append(cells.transpose(1, 2).reshape(1, -1, 10, 10))
    torch.testing.assert_close(body(image)[0], torch.cat(found, dim=1))


def test_positions_are_interpolated_to_other_sizes():
    body = PlainViT(3, HostConfig(backbone="test_vit", depths=(1,)), pretrained=False).eval()
    torch.nn.init.normal_(body.body.pos_embed)
    small = resample_abs_pos_embed(body.body.pos_embed, (4, 6), num_prefix_tokens=1)
    for block in body.body.blocks:
        for parameter in block.parameters():
            torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(body.body.patch_embed.proj.weight)
    torch.nn.init.zeros_(body.body.patch_embed.proj.bias)
    (features,) = body(torch.zeros(1, 3, 64, 96))
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), small[:, 1:])


def test_a_frozen_backbone_learns_in_neither_stage_and_everything_else_does():
    network = build(tiny_vit(stem_drop=0.0))
    image = torch.randn(2, 3, 64, 96)
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    labels = torch.randint(0, 5, (2, 64, 96))
    network.prior.requires_grad_(requires_grad=True)
    network.prior_objective(image, valid, labels).loss.backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    network.prior.requires_grad_(requires_grad=False)
    network.train()
    assert not network.backbone.training
    segmentation_loss(network(image, valid, labels=labels), labels).backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    learned = [*network.neck.named_parameters(), *network.decoder.named_parameters()]
    assert [name for name, p in learned if p.grad is None] == []


def test_known_features_give_the_same_map_without_running_the_backbone():
    network = build(tiny_vit()).eval()
    image = torch.randn(1, 3, 64, 96)
    features = network.backbone(image)
    with torch.no_grad():
        expected = network(image)
        network.backbone.forward = None
        found = network(image, features=features)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.prior, expected.prior)


def test_the_stem_is_silent_on_a_share_of_the_chips_in_training_alone():
    host = HostConfig(backbone="test_vit", depths=(6,), dim=8, stem=4, stem_drop=0.5)
    body = PlainViT(3, host, pretrained=False)
    neck = TokenPyramid(3, host, body)
    image = torch.randn(64, 3, 32, 32)
    features = [torch.randn(64, 64, 2, 2)]
    silent = (neck(image, features)[0][:, -4:] == 0).flatten(1).all(dim=1)
    assert 10 < int(silent.sum()) < 54
    assert not (neck.eval()(image, features)[0][:, -4:] == 0).flatten(1).all(dim=1).any()


def test_other_bands_reach_the_stem_alone():
    config = replace(tiny_vit(seen=(2, 0, 1)), bands=4)
    network = build(config).eval()
    image = torch.randn(1, 4, 64, 64)
    other = image.clone()
    other[:, 3] += 1.0
    assert torch.equal(network.backbone(image)[0], network.backbone(other)[0])
    assert not torch.equal(network(image).logits, network(other).logits)
    swapped = PlainViT(3, replace(config.host, seen=(0, 1, 2)), pretrained=False).eval()
    swapped.load_state_dict(network.backbone.state_dict())
    assert torch.equal(swapped(image[:, [2, 0, 1]])[0], network.backbone(image)[0])


@pytest.mark.parametrize(
    ("changes", "bands", "key"),
    [
        ({"depths": (3, 7)}, 3, "host.depths"),
        ({"depths": ()}, 3, "host.depths"),
        ({"depths": (3, 2)}, 3, "host.depths"),
        ({"token_px": 14}, 3, "host.token_px"),
        ({"seen": (0, 1, 2)}, 1, "host.seen"),
        ({"stem_drop": 1.0}, 3, "host.stem_drop"),
    ],
)
def test_impossible_transformers_name_what_is_wrong(changes, bands, key):
    with pytest.raises(ConfigError, match=key):
        PlainViT(bands, HostConfig(**{"backbone": "test_vit", **changes}), pretrained=False)


def test_a_prior_has_no_transformer_of_its_own():
    config = preset("default").override({"prior.condition.backbone": "test_vit"})
    with pytest.raises(ConfigError, match="plain ViT"):
        build(config)
