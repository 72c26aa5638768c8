"""Tokens that were kept are those that would be computed, and of nothing else."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from conftest import probe_config

from hyseg_cli.learn.inference.kept_tokens import KeptTokens, feature_folder, keep_tokens, make_room
from hyseg_models import build

CONFIG = probe_config(bands=4, window=8, overlap=2)
PLENTY = 2**20


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(CONFIG).eval()


@pytest.fixture
def image():
    return torch.rand(1, 4, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def look(network, tmp_path, monkeypatch):
    """Tokens of an image, and whether they were computed."""

    def look(image, tokens=network.backbone, most=PLENTY):
        tokens.recall, computed = KeptTokens(tokens, tmp_path / "kept", most), []
        compute = type(tokens)._compute
        monkeypatch.setattr(
            type(tokens), "_compute", lambda *given: computed.append(1) or compute(*given)
        )
        with torch.inference_mode():
            found = tokens(image)
        monkeypatch.setattr(type(tokens), "_compute", compute)
        return found, bool(computed)

    return look


def are_equal(one, other):
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def test_tokens_are_computed_once_and_come_back_bit_by_bit(look, image, network):
    first, was_computed = look(image)
    again, was_computed_again = look(image.clone())
    assert was_computed
    assert not was_computed_again
    network.backbone.recall = None
    assert are_equal(first, network.backbone(image))
    assert are_equal(first, again)


def test_the_order_in_memory_changes_no_token(look, image):
    first, _ = look(image)
    other, was_computed = look(image.contiguous(memory_format=torch.channels_last))
    assert not was_computed
    assert are_equal(first, other)


def test_a_band_that_the_transformer_does_not_see_is_not_part_of_the_key(look, image):
    look(image)
    image[:, 3] += 1
    assert look(image)[1] is False


@pytest.mark.parametrize(
    "change", ["a pixel", "the shape", "a weight", "the windows", "the format"]
)
def test_what_tokens_depend_on_has_them_computed_again(look, image, network, change):
    look(image)
    tokens = network.backbone
    if change == "a pixel":
        image[0, 0, 63, 95] += 1e-6
    elif change == "the shape":
        image = image.reshape(1, 4, 96, 64)
    elif change == "a weight":
        with torch.no_grad():
            next(tokens.body.parameters()).view(-1)[-1] += 1e-6
    elif change == "the windows":
        tokens = build(replace(CONFIG, probe=replace(CONFIG.probe, overlap=1))).eval().backbone
        tokens.load_state_dict(network.backbone.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "the format"):
        assert look(image, tokens)[1] is True


def test_damaged_tokens_are_computed_again(look, image, tmp_path):
    first, _ = look(image)
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    again, was_computed = look(image)
    assert was_computed
    assert are_equal(first, again)


def test_a_run_keeps_no_more_than_it_may(look, image, tmp_path):
    look(image, most=1000)
    assert not (tmp_path / "kept").exists()
    look(image)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_folder_that_cannot_be_made_costs_no_more_than_time(look, image, tmp_path):
    (tmp_path / "kept").write_text("a file")
    assert look(image)[1] is True
    assert look(image)[1] is True


def test_only_transformers_on_a_cpu_keep_tokens(network, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_tokens(network, torch.device("cuda"))
    assert network.backbone.recall is None
    keep_tokens(network, torch.device("cpu"))
    assert network.backbone.recall is not None
    assert feature_folder() == tmp_path / "hyseg" / "features"


def test_the_oldest_tokens_make_room(tmp_path):
    for age in range(4):
        path = tmp_path / f"{age}.safetensors"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    make_room(tmp_path, limit=250)
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["0", "1"]
    make_room(tmp_path / "not there")
