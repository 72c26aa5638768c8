"""The probe: what its tokens, its filter and its head promise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import probe_config
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hyseg_models import ConfigError, HySegConfig, build
from hyseg_models.config.config import HostConfig
from hyseg_models.tokens.detail import gaussian
from hyseg_models.tokens.head import guided_filter
from hyseg_models.tokens.scaled import cut_windows

CONFIG = probe_config(classes=4, window=6, overlap=2)


@pytest.fixture
def network():
    made = build(CONFIG).eval()
    for classify in made.decoder.classify:
        torch.nn.init.normal_(classify.weight)
    return made


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (45, 70), (2, 33)])
def test_logits_have_the_size_of_the_image(network, size):
    with torch.inference_mode():
        out = network(torch.randn(2, 3, *size))
    assert out.logits.shape == (2, 4, *size)
    assert out.aux is None
    assert out.prior is None


def test_a_batch_of_two_is_two_batches_of_one(network):
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        both = network(image).logits
        alone = torch.cat([network(one[None]).logits for one in image])
    assert torch.allclose(both, alone, atol=1e-4)


def test_the_configuration_comes_back_from_json():
    assert HySegConfig.from_dict(CONFIG.to_dict()) == CONFIG


def test_nothing_of_the_transformer_learns(network):
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert all(parameter.requires_grad for parameter in network.decoder.parameters())


def test_a_single_window_sees_what_the_transformer_sees(network):
    image = torch.randn(1, 3, 64, 64)
    whole = replace(CONFIG.probe, token_px=(16,), window=40, overlap=8)
    tokens = build(replace(CONFIG, probe=whole)).eval().backbone
    tokens.body.load_state_dict(network.backbone.body.state_dict())
    with torch.inference_mode():
        (kept,) = tokens(image)
        found = tokens._tokens(tokens.pixels_of(image), 16)
        expected = tokens.body.forward_intermediates(
            image, indices=[0, 1], norm=True, intermediates_only=True, output_fmt="NCHW"
        )
    assert torch.allclose(found, torch.cat(expected, dim=1), atol=1e-5)
    assert torch.equal(kept, found.half())


@given(st.integers(1, 200), st.integers(4, 40), st.data())
@settings(deadline=None)
def test_windows_cover_all_tokens_and_overlap(length, window, data):
    overlap = data.draw(st.integers(0, window // 2))
    windows = cut_windows(length, window, overlap)
    assert windows[0].start == 0
    assert windows[-1].stop == length
    (side,) = {len(part) for part in windows}
    assert side <= window
    if len(windows) > 1:
        # Neither fewer windows nor shorter ones would do.
        reached = [n * window - (n - 1) * overlap for n in (1, len(windows) - 1)]
        assert max(reached) < length
        assert len(windows) * (side - 1) - (len(windows) - 1) * overlap < length
    for one, other in pairwise(windows):
        assert one.stop - other.start >= overlap
        assert other.start > one.start


@pytest.mark.parametrize("sigma", [0.7, 1.0, 4.0, 8.0])
@pytest.mark.parametrize("size", [(50, 70), (32, 64), (3, 1)])
def test_smoothing_is_that_of_scipy(sigma, size):
    image = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    found = gaussian(torch.from_numpy(image)[None], sigma)[0].numpy()
    radius = int(np.ceil(3 * sigma))
    for one, other in zip(found, image, strict=True):
        expected = gaussian_filter(other, sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(one, expected, atol=1e-5)


def test_the_filter_moves_a_border_to_the_edge_of_the_guide():
    guide = torch.zeros(1, 3, 40, 40)
    guide[..., 20:] = 1.0
    values = torch.zeros(1, 1, 40, 40)
    values[..., 23:] = 1.0  # the border lies three pixels off
    found = guided_filter(values, guide, radius=8, smoothness=0.001)[0, 0]
    wrong_before = 3
    wrong_after = int(((found[20] > 0.5) != (guide[0, 0, 20] > 0.5)).sum())
    assert wrong_after < wrong_before


def test_the_filter_keeps_a_constant_and_a_sum():
    guide = torch.rand(2, 3, 21, 30)
    shares = torch.rand(2, 5, 21, 30).softmax(dim=1)
    found = guided_filter(shares, guide, radius=4, smoothness=0.02)
    assert torch.allclose(found.sum(dim=1), torch.ones(2, 21, 30), atol=1e-4)
    flat = guided_filter(torch.full((1, 1, 9, 9), 0.3), guide[:1, :, :9, :9], 4, 0.02)
    assert torch.allclose(flat, torch.full((1, 1, 9, 9), 0.3), atol=1e-5)


def test_magnified_scores_are_scores_of_magnified_tokens(network):
    head = network.decoder
    width = network.backbone.channels[0]
    tokens = [torch.randn(1, width, 64 // side, 64 // side) for side in (8, 16)]
    scores = head.scores(tokens, (64, 64))
    other = sum(
        classify(F.interpolate(level, size=(64, 64), mode="bilinear"))
        for level, classify in zip(tokens, head.classify, strict=True)
    )
    assert torch.allclose(scores, other, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"backbone": "resnet18"}, "not a plain vision transformer"),
        ({"backbone": "no_such_model"}, "not a timm model"),
        ({"seen": (0, 1, 5)}, "band 5"),
    ],
)
def test_what_cannot_be_built_is_named(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        build(replace(CONFIG, probe=replace(CONFIG.probe, **changes)))


@pytest.mark.parametrize(
    "changes",
    [{"depths": ()}, {"depths": (2, 1)}, {"token_px": (16, 8)}, {"overlap": 5}, {"radius": -1}],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ConfigError, match="probe"):
        replace(CONFIG.probe, **changes)


def test_a_probe_takes_no_prior():
    with pytest.raises(ConfigError, match="no place for a prior"):
        HySegConfig(host=HostConfig(name="probe"))
