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
from hyseg_models.config.config import P2AConfig
from hyseg_models.config.prior_config import PriorNetConfig, SampleConfig, TimeConfig

HOSTS = ("dcswin-t", "lsknet-t", "d2ls", "unetformer-r34", "unetformer-r50")
ABLATIONS = [n for n in PRESET_NAMES if n.startswith(("ablation", "control", "paper", "shared"))]


def images(batch=2, height=64, width=96):
    image = torch.randn(batch, 3, height, width)
    valid = torch.ones(batch, 1, height, width, dtype=torch.bool)
    return image, valid


@pytest.mark.parametrize("name", [*PRESET_NAMES, "default-host", "dcswin-t-host"])
def test_every_preset_builds_and_survives_json(name):
    config = preset(name)
    assert HySegConfig.from_dict(config.to_dict()) == config
    with torch.device("meta"):
        build(config)


def shrink(config):
    """The same network with a backbone and a prior that train in a moment."""
    small = tiny_config()
    host = (
        config.host
        if config.host.name != "unetformer"
        else replace(config.host, backbone=small.host.backbone)
    )
    return replace(
        config,
        classes=5,
        host=host,
        head=replace(config.head, segmentor=small.host),
        prior=replace(
            config.prior,
            net=replace(config.prior.net, base=8, mult=(1, 2), blocks=1, attn_ds=()),
            condition=replace(
                config.prior.condition, backbone="resnet10t", strides=(4, 8), width=8
            ),
        ),
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_trains_a_step_of_both_stages(name):
    network = build(shrink(preset(name)))
    image, valid = images()
    labels = torch.randint(0, 5, (2, 64, 96))
    if network.prior is not None:
        network.prior.requires_grad_(True)
        terms = network.prior_objective(image, valid, labels)
        terms.loss.backward()
        assert terms.loss.isfinite()
        assert any(p.grad is not None and p.grad.any() for p in network.prior.parameters())
        network.prior.requires_grad_(False)
    network.train()
    loss = segmentation_loss(network(image, valid, labels=labels), labels)
    loss.backward()
    assert loss.isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("suffix", ["", "-host"])
def test_every_host_trains_a_step_with_and_without_hyseg(name, suffix):
    config = replace(preset(name + suffix), classes=5)
    network = build(config).train()
    image, valid = images()
    labels = torch.randint(0, 5, (2, 64, 96))
    segmentation_loss(network(image, valid), labels).backward()
    untouched = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert untouched == []
    network.eval()
    odd = network(torch.randn(1, 3, 70, 33))
    assert odd.logits.shape == (1, 5, 70, 33)


@pytest.mark.parametrize("host", ["dcswin", "d2ls", "lsknet"])
def test_other_hosts_start_as_they_are_and_give_any_size(host):
    backbone = "lsknet_t" if host == "lsknet" else "resnet10t"
    config = tiny_config().override({"host.name": host, "host.backbone": backbone})
    if host == "d2ls":
        config = config.override({"host.dim": 64})
    if host == "lsknet":
        config = config.override({"head.mode": "append"})
    with_das, bare = build(config).eval(), build(config.override({"head.kind": "none"})).eval()
    assert bare.load_state_dict(with_das.state_dict(), strict=False).missing_keys == []
    image, valid = images(1, 65, 97)
    torch.testing.assert_close(with_das(image, valid).logits, bare(image, valid).logits)


def test_an_auxiliary_head_is_heard_in_training_only():
    for host, has_aux in (("dcswin", False), ("d2ls", True)):
        network = build(tiny_config().override({"host.name": host, "host.dim": 64}))
        assert (network.train()(*images()).aux is not None) == has_aux
        assert network.eval()(*images()).aux is None


def test_a_shared_backbone_is_frozen_in_stage_two_and_run_once():
    config = tiny_config().override({"prior.condition.kind": "host"})
    network = build(config).train()
    assert not network.backbone.training
    calls = []
    network.backbone.register_forward_hook(lambda *_: calls.append(1))
    image, valid = images()
    segmentation_loss(network(image, valid), torch.randint(0, 5, (2, 64, 96))).backward()
    assert len(calls) == 1
    assert all(p.grad is None for p in network.backbone.parameters())


def test_the_oracle_prior_is_the_labels_and_needs_them():
    network = build(tiny_config().override({"head.prior": "gt"})).eval()
    image, valid = images()
    labels = torch.randint(0, 5, (2, 16, 24)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    out = network(image, valid, labels=labels)
    assert torch.equal(out.prior.argmax(dim=1), labels[:, ::4, ::4])
    with pytest.raises(ConfigError, match="needs the labels"):
        network(image, valid)


def test_the_shuffled_prior_is_another_images():
    config = tiny_config()
    honest = build(config).eval()
    randomise(honest.prior)
    shuffled = build(config.override({"head.prior": "shuffled"})).eval()
    shuffled.load_state_dict(honest.state_dict())
    image, valid = images()
    torch.testing.assert_close(
        shuffled(image, valid).prior, honest(image, valid).prior.flip(0), atol=1e-5, rtol=1e-4
    )


def test_a_segmentor_prior_is_frozen_and_pooled():
    network = build(tiny_config().override({"head.prior": "segmentor"})).train()
    image, valid = images()
    out = network(image, valid)
    assert out.prior.shape == (2, 5, 16, 24)
    assert not network.segmentor.training
    segmentation_loss(out, torch.randint(0, 5, (2, 64, 96))).backward()
    assert all(p.grad is None for p in network.segmentor.parameters())


def test_the_discriminative_prior_learns_by_cross_entropy():
    network = build(tiny_config().override({"prior.training": "discriminative"}))
    image, valid = images(4, 64, 64)
    labels = torch.randint(0, 5, (4, 64, 64))
    # zero-initialised, the network knows nothing: the loss is that of five equal classes
    loss = network.prior_objective(image, valid, labels).loss
    assert loss.item() == pytest.approx(1.609, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "part", "millions"),
    [
        ("default", "all", 18.61),
        # The method gives 4.2 and 5.8 million for its base and light priors, 11.2, 21.3 and 23.5
        # for ResNets, 27.5, 48.8 and 86.7 for Swin, 87.6 for ConvNeXt-B, 4.0 and 13.8 for LSKNet.
        ("default", "prior.net", 4.12),
        ("light", "prior.net", 5.80),
        ("default", "backbone", 11.18),
        ("unetformer-r34", "backbone", 21.28),
        ("unetformer-r50", "backbone", 23.51),
        ("dcswin-t", "backbone", 27.52),
        ("dcswin-s", "backbone", 48.84),
        ("dcswin-b", "backbone", 86.74),
        ("lsknet-t", "backbone", 3.99),
        ("lsknet-s", "backbone", 13.84),
        ("d2ls", "backbone", 87.56),
        ("dcswin-t-host", "all", 33.14),
        ("lsknet-t-host", "all", 4.51),
        ("d2ls-host", "all", 89.95),
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


@pytest.mark.parametrize("noise", ["zero", "mean", "fixed"])
def test_training_draws_the_noise_that_the_settings_name(noise):
    network = build(tiny_config().override({"sample.noise": noise}))
    randomise(network.prior)
    image, valid = images()
    network.train()
    first, second = (network.draw_prior(image, valid, None) for _ in range(2))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, network.eval().draw_prior(image, valid, None))


def test_training_averages_fresh_draws():
    network = build(tiny_config().override({"sample.noise": "avg:16"})).train()
    randomise(network.prior)
    image, valid = images()
    averaged = [network.draw_prior(image, valid, None) for _ in range(2)]
    assert not torch.equal(*averaged)
    network.config = network.config.override({"sample.noise": "position"})
    single = [network.draw_prior(image, valid, None) for _ in range(2)]
    assert (averaged[0] - averaged[1]).square().mean() < (single[0] - single[1]).square().mean()


def draws(network, noise, seeds=(0, 1), nfe=1):
    """Samples of the prior with noise of several seeds, in label space."""
    image, valid = images()
    prior = network.prior
    condition = network.condition(image, valid)
    with torch.no_grad():
        return [
            prior.draw(condition, None, SampleConfig(noise=noise, seed=seed, nfe=nfe))
            for seed in seeds
        ]


@pytest.mark.parametrize("param", ["x", "x_softmax"])
def test_the_posterior_mean_does_not_depend_on_the_noise(param):
    network = build(tiny_config().override({"prior.param": param})).eval()
    randomise(network.prior)
    torch.testing.assert_close(*draws(network, "mean"), rtol=0, atol=1e-6)
    one, other = draws(network, "position")
    assert (one - other).abs().max() > 1e-3


def test_a_gate_on_the_noise_leaves_the_one_step_sample_as_it_is():
    network = build(tiny_config()).eval()
    randomise(network.prior)
    torch.manual_seed(1)
    gated = draws(network, "position")
    network.prior.net.noise_gate = False
    torch.manual_seed(1)
    assert torch.equal(gated[0], draws(network, "position")[0])


@pytest.mark.parametrize("nfe", [1, 20, 50])
def test_the_last_of_many_steps_reaches_the_clean_map(nfe):
    network = build(tiny_config()).eval()
    clean = torch.rand(2, 5, 16, 24)

    class Sure(torch.nn.Module):
        def forward(self, x, _r, _t, _condition):
            return clean.to(x)

    network.prior.net = Sure()
    (found,) = draws(network, "position", seeds=(0,), nfe=nfe)
    torch.testing.assert_close(found, clean, rtol=0, atol=1e-5)


def test_a_card_without_the_repairs_builds_the_network_of_before():
    old = HySegConfig.from_dict({})
    assert not old.prior.net.noise_gate
    assert not old.head.p2a.gate
    assert old.head.p2a.sigma_scope == "level"
    new = preset("default")
    assert new.prior.net.noise_gate
    assert new.head.p2a.gate
    assert new.head.p2a.sigma_scope == "class"


def test_the_smallest_chip_holds_a_neighbourhood_of_every_level():
    assert preset("default").head.least_chip == 7 * 32
    assert preset("ablation-k3").head.least_chip == 3 * 32
    assert preset("ablation-two-dilations").head.least_chip == 13 * 32
    assert preset("default-host").head.least_chip <= 32


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
    network = build(tiny_config())
    prior = network.prior.requires_grad_(True)
    prior.train()
    randomise(prior)
    image, valid = images(4, 64, 64)
    labels = torch.randint(0, 5, (4, 64, 64))
    network.prior_objective(image, valid, labels).loss.backward()
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


def test_presets_joined_lay_the_changes_of_the_later_over_the_first():
    small, both = preset("cpu_smoke"), preset("cpu_smoke+ablation-no-attention")
    assert both == small.override({"head.attention.kind": "none"})
    assert preset("default+ablation-k3") == preset("ablation-k3")
    assert preset("cpu_smoke+ablation-full") == small
    # What both change is as the later one has it, parents between them included.
    assert preset("cpu_smoke+dcswin-s").host.drop_path == 0.3
    assert preset("cpu_smoke+dcswin-s").host.name == "dcswin"
    assert preset("cpu_smoke+ablation-no-p2a-host") == small.override(
        {"head.message": "prior", "head.kind": "none"}
    )


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: PriorNetConfig(time_scale=1000.0), "time_scale"),
        (lambda: P2AConfig(kernel=4), "kernel"),
        (lambda: TimeConfig(endpoint_quota=0.8, mean_quota=0.5), "endpoint_quota"),
        (lambda: SampleConfig(noise="avg:0"), "noise"),
        (lambda: P2AConfig(source="uniform", sigma_scope="class"), "sigma_scope"),
        (lambda: SampleConfig(noise="loud"), "noise"),
        (lambda: HySegConfig(classes=1), "classes"),
        (lambda: HySegConfig.from_dict({"prior": {"betta": 1.0}}), "prior.betta"),
        (lambda: HySegConfig.from_dict({"prior": {"net": {"base": "wide"}}}), "prior.net.base"),
        (lambda: HySegConfig.from_dict({"head": {"mode": "insert"}}), "head.mode"),
        (lambda: HySegConfig.from_dict({"bands": True}), "bands"),
        (lambda: build(HySegConfig.from_dict({"host": {"backbone": "resnet1"}})), "resnet1"),
        (
            lambda: build(HySegConfig.from_dict({"host": {"backbone": "levit_128"}})),
            "stride",
        ),
        (lambda: preset("huge"), "huge"),
        (lambda: preset("cpu_smoke+huge"), "huge"),
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
