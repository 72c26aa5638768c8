"""Chips with the features of a frozen backbone, kept on the disk."""

import json

import pytest
import torch
from models.blocks.test_vit import tiny_vit
from safetensors.torch import load_file, save_file

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.training.features import (
    FeatureChips,
    backbone_aside,
    bytes_per_chip,
    features_of,
    key_of,
)
from hyseg_models import build

CPU = torch.device("cpu")
SIDE = 64


class Chips(torch.utils.data.Dataset):
    """Chips that differ; counts how often each is asked for."""

    def __init__(self):
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        generator = torch.Generator().manual_seed(index)
        return {
            "image": torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator),
            "valid": torch.rand(1, SIDE, SIDE, generator=generator) > 0.1,
            "labels": torch.randint(0, 5, (SIDE, SIDE), generator=generator),
            "origin": torch.tensor((index, -1)),
        }


@pytest.fixture
def network():
    return build(tiny_vit()).eval()


@pytest.fixture
def standardise():
    return Standardise(Radiometry((120.0,) * 3, (60.0,) * 3))


def chips_in(folder, *, size=16, count=None, seed=None):
    return FeatureChips(folder, Chips(), size=size, count=count or size, seed=seed)


def fill(chips, network, standardise, tick=lambda _done, _total: None):
    return chips.fill(network, standardise, CPU, tick)


def test_a_chip_comes_back_with_what_the_backbone_sees_in_it(tmp_path, network, standardise):
    chips = chips_in(tmp_path)
    assert fill(chips, network, standardise) == 2
    for index in (0, 7, 8, 15):
        found, expected = chips[index], Chips()[index]
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
        image = standardise(expected["image"][None], expected["valid"][None])
        (features,) = features_of({name: tensor[None] for name, tensor in found.items()})
        with torch.inference_mode():
            torch.testing.assert_close(features, network.backbone(image)[0], rtol=2e-3, atol=2e-3)


def test_each_round_takes_all_chips_in_an_order_of_its_own(tmp_path, network, standardise):
    chips = chips_in(tmp_path, count=48, seed=3)
    fill(chips, network, standardise)
    order = [int(chips[i]["origin"][0]) for i in range(48)]
    rounds = [order[start : start + 16] for start in (0, 16, 32)]
    assert all(sorted(taken) == list(range(16)) for taken in rounds)
    assert len({tuple(taken) for taken in rounds}) == 3
    chips.first = 20
    assert int(chips[0]["origin"][0]) == order[20]
    assert chips.place(0) == f"chip {order[20]} of the pool"


def test_what_is_there_is_not_computed_again(tmp_path, network, standardise):
    fill(chips_in(tmp_path), network, standardise)
    again = chips_in(tmp_path, size=24)
    assert fill(again, network, standardise) == 1
    assert again.pool.asked == list(range(16, 24))


@pytest.mark.parametrize("harm", ["removed", "cut", "another content", "never noted"])
def test_a_damaged_file_is_computed_again(tmp_path, network, standardise, harm):
    chips = chips_in(tmp_path)
    fill(chips, network, standardise)
    expected = chips[9]
    path, index = tmp_path / "chips-000001.safetensors", tmp_path / "index.jsonl"
    match harm:
        case "removed":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "another content":
            tensors = load_file(path)
            tensors["features.0"] += 1
            save_file(tensors, path)
        case "never noted":
            index.write_text(index.read_text()[:-20])
    again = chips_in(tmp_path)
    assert fill(again, network, standardise) == 1
    for name, tensor in again[9].items():
        assert torch.equal(tensor, expected[name])


def test_a_run_that_is_stopped_keeps_whole_files(tmp_path, network, standardise):
    def stop(done, total):
        assert total == 2
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(chips_in(tmp_path), network, standardise, stop)
    again = chips_in(tmp_path)
    assert fill(again, network, standardise) == 1
    assert again.pool.asked == list(range(8, 16))


def test_a_file_that_goes_away_while_it_is_used_is_one_clear_error(tmp_path, network, standardise):
    chips = chips_in(tmp_path)
    fill(chips, network, standardise)
    (tmp_path / "chips-000001.safetensors").write_bytes(b"nothing")
    with pytest.raises(HysegError, match="cannot be read"):
        _ = chips[8]


def test_values_beyond_half_precision_are_cut(tmp_path, network, standardise):
    network.backbone.forward = lambda image: [torch.full((len(image), 1, 2, 2), 1e6)]
    chips = chips_in(tmp_path)
    fill(chips, network, standardise)
    assert chips[0]["features.0"].isfinite().all()


def test_a_network_whose_backbone_is_aside_keeps_the_rest(network):
    before = network.backbone
    with backbone_aside(network):
        assert not [name for name, _ in network.named_parameters() if name.startswith("backbone")]
        with pytest.raises(RuntimeError, match="aside"):
            network(torch.zeros(1, 3, 32, 32))
    assert network.backbone is before


def test_the_key_follows_the_weights_the_values_and_the_chips(network, standardise):
    first = key_of(network, standardise, [{"size": 64}])
    assert first == key_of(network, standardise, [{"size": 64}])
    assert first != key_of(network, standardise, [{"size": 128}])
    other = Standardise(Radiometry((121.0,) * 3, (60.0,) * 3))
    assert first != key_of(network, other, [{"size": 64}])
    with torch.no_grad():
        network.decoder.classify[2].bias += 1
        assert first == key_of(network, standardise, [{"size": 64}])
        network.backbone.body.norm.bias += 1
    assert first != key_of(network, standardise, [{"size": 64}])


def test_the_room_of_a_chip_is_about_what_it_takes(tmp_path, network, standardise):
    fill(chips_in(tmp_path), network, standardise)
    taken = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) / 16
    assert bytes_per_chip(network, SIDE) == pytest.approx(taken, rel=0.05)


def test_the_index_is_read_as_far_as_it_is_whole(tmp_path, network, standardise):
    fill(chips_in(tmp_path), network, standardise)
    lines = (tmp_path / "index.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in lines] == [0, 1]
