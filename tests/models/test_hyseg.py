from dataclasses import replace

import pytest
import torch
from conftest import tiny_config

from hyseg_models import (
    IGNORE_ID,
    PRESET_NAMES,
    ConfigError,
    HySegConfig,
    WeightsUnavailableError,
    build,
    preset,
    segmentation_loss,
)
from hyseg_models.config import P2AConfig, PriorNetConfig, SampleConfig, TimeConfig


def images(batch=2, height=64, width=96):
    image = torch.randn(batch, 3, height, width)
    valid = torch.ones(batch, 1, height, width, dtype=torch.bool)
    return image, valid


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_preset_builds_and_survives_json(name):
    config = preset(name)
    assert HySegConfig.from_dict(config.to_dict()) == config
    with torch.device("meta"):
        build(config)


@pytest.mark.parametrize(
    ("name", "part", "millions"),
    [
        ("default", "all", 18.61),
        # 4.2 and 5.8 million are the sizes the method gives for its base and light priors.
        ("default", "prior.net", 4.12),
        ("light", "prior.net", 5.80),
        ("default", "backbone", 11.18),
    ],
)
def test_parameter_counts_are_pinned(name, part, millions):
    with torch.device("meta"):
        network = build(preset(name))
    module = network if part == "all" else network.get_submodule(part)
    count = sum(p.numel() for p in module.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.01)


def test_the_bare_host_has_the_published_size():
    config = preset("default")
    with torch.device("meta"):
        host = build(replace(config, head=replace(config.head, kind="none")))
    # UNetFormer with ResNet-18: 11.7 million
    assert sum(p.numel() for p in host.parameters()) / 1e6 == pytest.approx(11.73, abs=0.01)


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (2, 2), (31, 129)])
def test_any_size_comes_out_as_it_went_in(size):
    network = build(tiny_config()).eval()
    image, valid = images(1, *size)
    out = network(image, valid)
    assert out.logits.shape == (1, 5, *size)
    assert out.aux is None


def test_one_pixel_wide_images_are_refused():
    with pytest.raises(ConfigError, match="at least 2 x 2"):
        build(tiny_config())(torch.randn(1, 3, 1, 40))


def test_training_and_evaluation_return_the_same_type():
    network = build(tiny_config())
    image, valid = images()
    trained, evaluated = network.train()(image, valid), network.eval()(image, valid)
    assert type(trained) is type(evaluated)
    assert trained.aux.shape == trained.logits.shape


def test_the_prior_stays_in_evaluation_mode_and_frozen():
    network = build(tiny_config()).train()
    assert network.training
    assert not any(module.training for module in network.prior.modules())
    assert not any(p.requires_grad for p in network.prior.parameters())


def test_evaluation_is_deterministic():
    network = build(tiny_config()).eval()
    image, valid = images()
    assert torch.equal(network(image, valid).logits, network(image, valid).logits)


def test_noise_is_fresh_in_training():
    network = build(tiny_config())
    randomise(network.prior)
    image, valid = images()
    network.train()
    first, second = (network.draw_prior(image, valid, None) for _ in range(2))
    assert not torch.equal(first, second)


def randomise(module):
    """Random values instead of the zeros that residual branches start with."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.05)


def test_a_batch_of_two_is_two_batches_of_one():
    network = build(tiny_config()).eval()
    randomise(network)
    image, valid = images()
    origin = torch.tensor([[0, 32], [64, 0]])
    both = network(image, valid, origin).logits
    each = torch.cat(
        [network(image[i : i + 1], valid[i : i + 1], origin[i : i + 1]).logits for i in (0, 1)]
    )
    torch.testing.assert_close(both, each, atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_parameter_that_learns():
    config = tiny_config()
    network = build(replace(config, head=replace(config.head, drop_path=0.0))).train()
    randomise(network)
    image, valid = images()
    labels = torch.randint(0, 5, (2, 64, 96))
    segmentation_loss(network(image, valid), labels).backward()
    without = [
        name
        for name, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == []


def test_gradients_of_stage_one_reach_every_parameter_of_the_prior():
    prior = build(tiny_config()).prior.requires_grad_(True)
    prior.train()
    randomise(prior)
    image, valid = images(4, 64, 64)
    labels = torch.randint(0, 5, (4, 64, 64))
    prior.objective(image, valid, labels).loss.backward()
    without = [name for name, p in prior.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_with_das_appended_the_network_starts_as_its_host():
    config = tiny_config()
    with_das = build(replace(config, head=replace(config.head, mode="append"))).eval()
    host = build(replace(config, head=replace(config.head, kind="none"))).eval()
    missing = host.load_state_dict(with_das.state_dict(), strict=False).missing_keys
    assert missing == []
    image, valid = images()
    torch.testing.assert_close(with_das(image, valid).logits, host(image, valid).logits)


@pytest.mark.parametrize("noise", ["position", "fixed", "zero", "mean", "avg:3", "random"])
@pytest.mark.parametrize("param", ["x", "u", "x_softmax"])
def test_every_way_to_draw_the_prior_gives_class_probabilities(noise, param):
    config = tiny_config()
    config = replace(
        config,
        sample=SampleConfig(noise=noise),
        prior=replace(config.prior, param=param),
    )
    network = build(config).eval()
    randomise(network.prior)
    image, valid = images()
    drawn = network.draw_prior(image, valid, torch.zeros(2, 2, dtype=torch.int64))
    torch.testing.assert_close(drawn.sum(dim=1), torch.ones(2, 16, 24))


def test_the_prior_of_a_tile_is_that_of_the_scene_in_its_interior():
    network = build(tiny_config()).eval()
    randomise(network.prior)
    image, valid = images(1, 448, 448)
    whole = network.draw_prior(image, valid, torch.tensor([[0, 0]]))
    window = (..., slice(64, 416), slice(32, 384))
    tile = network.draw_prior(image[window], valid[window], torch.tensor([[64, 32]]))
    reach = 36  # cells; the receptive field of the tiny prior is 30
    inside = slice(reach, 88 - reach)
    in_whole = (..., slice(16 + reach, 104 - reach), slice(8 + reach, 96 - reach))
    torch.testing.assert_close(tile[..., inside, inside], whole[in_whole], atol=1e-5, rtol=1e-4)


def test_invalid_pixels_are_told_to_the_prior():
    network = build(tiny_config()).eval()
    randomise(network.prior)
    image, valid = images(1)
    emptied = valid.clone()
    emptied[..., :32] = False
    assert not torch.equal(
        network.draw_prior(image, valid, None), network.draw_prior(image, emptied, None)
    )


def test_other_band_counts_build_and_run():
    network = build(replace(tiny_config(), bands=7)).eval()
    assert network(torch.randn(1, 7, 64, 64)).logits.shape == (1, 5, 64, 64)


def test_bfloat16_autocast_runs():
    network = build(tiny_config()).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert network(*images()).logits.isfinite().all()


def test_weights_survive_a_round_trip_bit_for_bit():
    one, other = build(tiny_config()).eval(), build(tiny_config()).eval()
    other.load_state_dict(one.state_dict())
    image, valid = images()
    assert torch.equal(one(image, valid).logits, other(image, valid).logits)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: PriorNetConfig(time_scale=1000.0), "time_scale"),
        (lambda: P2AConfig(kernel=4), "kernel"),
        (lambda: TimeConfig(endpoint_quota=0.8, mean_quota=0.5), "endpoint_quota"),
        (lambda: SampleConfig(noise="avg:0"), "noise"),
        (lambda: SampleConfig(noise="loud"), "noise"),
        (lambda: HySegConfig(classes=1), "classes"),
        (lambda: HySegConfig.from_dict({"prior": {"betta": 1.0}}), "prior.betta"),
        (lambda: HySegConfig.from_dict({"prior": {"net": {"base": "wide"}}}), "prior.net.base"),
        (lambda: HySegConfig.from_dict({"head": {"mode": "insert"}}), "head.mode"),
        (lambda: HySegConfig.from_dict({"bands": True}), "bands"),
        (lambda: build(HySegConfig.from_dict({"host": {"backbone": "resnet1"}})), "resnet1"),
        (
            lambda: build(HySegConfig.from_dict({"host": {"backbone": "vit_tiny_patch16_224"}})),
            "stride",
        ),
        (lambda: preset("huge"), "huge"),
    ],
)
def test_impossible_configurations_name_what_is_wrong(make, key):
    with pytest.raises(ConfigError, match=key):
        make()


def test_pretrained_weights_that_cannot_be_fetched_are_one_clear_error(monkeypatch):
    # Without the network the hub would be tried again and again for a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailableError, match="resnet"):
        build(tiny_config(), pretrained=True)


def test_unlabelled_pixels_carry_no_loss():
    network = build(tiny_config()).eval()
    out = network(*images())
    labels = torch.randint(0, 5, (2, 64, 96))
    labels[:, :, 50:] = IGNORE_ID
    loss = segmentation_loss(out, labels)
    out.logits.data[:, :, :, 50:] = 9.0 * torch.randn(2, 5, 64, 46)
    torch.testing.assert_close(segmentation_loss(out, labels), loss)
    nothing = segmentation_loss(out, torch.full_like(labels, IGNORE_ID))
    assert nothing.item() == 0.0


@pytest.mark.slow
def test_it_overfits_four_chips():
    torch.manual_seed(0)
    config = tiny_config()
    network = build(replace(config, head=replace(config.head, drop_path=0.0))).train()
    labels = torch.randint(0, 5, (4, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = torch.randn(4, 3, 64, 64) * 0.1 + labels.unsqueeze(1).float()
    valid = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        segmentation_loss(network(image, valid), labels, smoothing=0.0).backward()
        optimizer.step()
    network.eval()
    accuracy = (network(image, valid).logits.argmax(dim=1) == labels).float().mean()
    assert accuracy > 0.9
