import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_card, probe_config, tiny_config
from safetensors.torch import save_file

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError
from hyseg_cli.learn.model import weights
from hyseg_cli.learn.model.card import ModelCard, ModelSource, TrainingData, digest_of, read_card
from hyseg_cli.learn.model.weights import load_model, replace_card, save_model
from hyseg_models import build


def test_cards_survive_a_round_trip(legend):
    card = make_card(
        legend,
        resolution_m=None,
        best_resolution_m=0.4,
        data=TrainingData(name="n", licence="CC0", attribution="a", training_scenes=("s", "t")),
        training={"settings": {"steps": 3}},
        metrics={"miou": 0.5, "iou": {"land": 0.25}},
    )
    assert ModelCard.from_json(card.to_json()) == card


def test_a_model_is_found_without_its_network(tmp_path, legend, monkeypatch):
    card, path = make_card(legend), tmp_path / "mine.safetensors"
    save_model(path, build(card.config), card)
    monkeypatch.setattr(weights, "build", None)  # what would build a network fails
    source = ModelSource.find(path)
    assert source == ModelSource(path, card, digest_of(path))
    assert source.name == "mine"
    with pytest.raises(TypeError):
        load_model(source)


def test_a_loaded_model_predicts_as_the_saved_one(tmp_path, legend):
    card = make_card(legend)
    network = build(card.config).eval()
    path = tmp_path / "m.safetensors"
    save_model(path, network, card, half=False)
    loaded = load_model(path)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded.network(image).logits, network(image).logits)
    assert loaded.card == card == read_card(path)
    assert not loaded.network.training


@pytest.mark.parametrize(
    ("chips", "asked", "tiling"),
    [
        (128, (None, None), (512, 128)),
        (1024, (None, None), (1024, 128)),
        (1000, (None, None), (992, 128)),
        (10**6, (None, None), (2048, 128)),
        (1024, (256, None), (256, 64)),
        (1024, (None, 256), (1024, 256)),
        (1024, (0, 0), (0, 0)),
    ],
)
def test_a_map_has_the_tiles_that_suit_the_model_unless_others_are_asked_for(
    legend, chips, asked, tiling
):
    assert make_card(legend, tile_size=chips).tiling(*asked) == tiling


def test_tiles_of_a_network_that_looks_through_windows_share_less(legend):
    card = make_card(legend, tile_size=576, config=probe_config(classes=5))
    assert card.tiling(None, None) == (576, 64)
    assert card.tiling(None, 128) == (576, 128)


@pytest.mark.parametrize("wrong", [0, -32, "512", None])
def test_a_card_with_chips_of_no_size_is_refused(legend, wrong):
    values = json.loads(make_card(legend).to_json()) | {"tile_size": wrong}
    with pytest.raises(ModelMismatchError, match="tile_size"):
        ModelCard.from_json(json.dumps(values))


def test_a_card_without_temperature_has_one_of_1(legend):
    values = json.loads(make_card(legend).to_json())
    del values["temperature"]
    assert ModelCard.from_json(json.dumps(values)).temperature == 1.0


def test_another_card_leaves_the_weights_as_they_are(tmp_path, legend):
    card = make_card(legend)
    path = tmp_path / "m.safetensors"
    save_model(path, build(card.config), card)
    before = load_model(path)
    replace_card(path, replace(card, temperature=1.5))
    after = load_model(path)
    assert after.card == replace(card, temperature=1.5)
    assert after.digest != before.digest
    others = after.network.state_dict()
    assert all(torch.equal(t, others[name]) for name, t in before.network.state_dict().items())


def test_others_may_read_a_model_as_any_new_file(tmp_path, legend):
    card = make_card(legend)
    save_model(tmp_path / "m.safetensors", build(card.config), card)
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_half_precision_halves_the_file_and_hardly_moves_the_probabilities(tmp_path, legend):
    card = make_card(legend)
    network = build(card.config).eval()
    sizes = {}
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        save_model(path, network, card, half=half)
        sizes[half] = path.stat().st_size
    assert sizes[True] < 0.55 * sizes[False]
    image = torch.randn(1, 3, 64, 64)
    stored = load_model(tmp_path / "True.safetensors").network(image).logits.softmax(1)
    assert (stored - network(image).logits.softmax(1)).abs().max() < 0.01


def test_the_digest_tells_models_apart(tmp_path, legend):
    card = make_card(legend)
    for name in "ab":
        save_model(tmp_path / f"{name}.safetensors", build(card.config), card)
    one, other = (load_model(tmp_path / f"{name}.safetensors").digest for name in "ab")
    assert one != other
    assert len(one) == 16


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was executed",))

    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(HysegError, match="not a complete safetensors file"):
        load_model(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(HysegError, match="not a complete safetensors file"):
        load_model(path)


@pytest.mark.parametrize("kept", [0, 4, 200, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, tiny_model, kept):
    data = tiny_model.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(HysegError, match="not a complete safetensors file") as caught:
        load_model(cut)
    assert caught.value.exit_code == 1


def test_a_missing_file_is_a_usage_problem(tmp_path):
    with pytest.raises(UsageProblemError, match="no such model"):
        load_model(tmp_path / "none.safetensors")


def write_card(path, text):
    save_file({"a": torch.zeros(1)}, path, metadata={"hyseg_card": text})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "hyseg-model/99"}, "hyseg-model/99"),
        ({"mean": [1.0]}, "equally long"),
        ({"bands": ["gray"]}, "equally long"),
        ({"legend": {"classes": [{"id": 0, "name": "x", "color": "#000000"}]}}, "1 classes"),
        ({"config": {"classes": 5, "bands": 3, "depth": 9}}, "depth"),
        ({"unheard": 1}, "unheard"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"best_resolution_m": 0}, "best_resolution_m"),
        ({"best_resolution_m": "fine"}, "best_resolution_m"),
    ],
)
def test_a_card_that_does_not_fit_says_why(tmp_path, legend, change, problem):
    values = json.loads(make_card(legend).to_json()) | change
    write_card(tmp_path / "m.safetensors", json.dumps(values))
    with pytest.raises((ModelMismatchError, HysegError), match=problem):
        read_card(tmp_path / "m.safetensors")


@pytest.mark.parametrize("text", ["", "[]", "{", '"card"'])
def test_a_card_that_is_none_is_refused(tmp_path, text):
    write_card(tmp_path / "m.safetensors", text)
    with pytest.raises(ModelMismatchError):
        read_card(tmp_path / "m.safetensors")


def test_foreign_weights_have_no_card(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors")
    with pytest.raises(ModelMismatchError, match="no hyseg card"):
        read_card(tmp_path / "m.safetensors")


def test_weights_of_another_network_do_not_fit(tmp_path, legend):
    card = make_card(legend)
    other = replace(tiny_config(), head=replace(tiny_config().head, kind="none"))
    save_model(tmp_path / "m.safetensors", build(other), card)
    with pytest.raises(ModelMismatchError, match="do not fit its configuration"):
        load_model(tmp_path / "m.safetensors")


def test_a_failed_write_leaves_nothing_and_keeps_the_old_model(tmp_path, legend, monkeypatch):
    card = make_card(legend)
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyseg_cli.learn.model.weights.save_file", full)
    with pytest.raises(HysegError, match="No space left"):
        save_model(path, build(card.config), card)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_large_statistics_survive_half_precision(tmp_path, legend):
    card = make_card(legend)
    network = build(card.config)
    network.decoder.enter[1].running_var.fill_(1e6)
    save_model(tmp_path / "m.safetensors", network, card)
    loaded = load_model(tmp_path / "m.safetensors").network
    assert np.isclose(loaded.decoder.enter[1].running_var[0].item(), 1e6)
