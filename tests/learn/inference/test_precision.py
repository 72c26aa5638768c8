"""The floating-point format that networks run in."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hyseg_cli.learn.inference import precision, predictor
from hyseg_cli.learn.inference.precision import choose_precision, probe, remembered
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A user's cache of our own, on a processor that knows bfloat16."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    return tmp_path / "hyseg" / "precision.json"


def test_what_is_asked_for_is_taken_and_gpus_take_bfloat16(cache):
    assert choose_precision("float32", "cuda") == "float32"
    assert choose_precision("bfloat16", "cpu") == "bfloat16"
    assert choose_precision("auto", "cuda") == "bfloat16"
    assert not cache.exists()


def test_processors_without_bfloat16_and_those_that_share_work_take_float32(cache, monkeypatch):
    monkeypatch.setattr(precision, "probe", lambda: "bfloat16")
    assert choose_precision("auto", "cpu", is_shared=True) == "float32"
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert choose_precision("auto", "cpu") == "float32"


@pytest.mark.parametrize("found", ["float32", "bfloat16"])
def test_a_machine_is_measured_once(cache, monkeypatch, found):
    monkeypatch.setattr(precision, "probe", lambda: found)
    assert choose_precision("auto", "cpu") == found
    monkeypatch.setattr(precision, "probe", None)
    assert choose_precision("auto", "cpu") == found
    (machine,) = json.loads(cache.read_text())
    assert torch.__version__ in machine


@pytest.mark.parametrize("text", ["", "[]", '{"another machine": "bfloat16"}', "{"])
def test_a_memory_that_says_nothing_is_replaced(cache, monkeypatch, text):
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    monkeypatch.setattr(precision, "probe", lambda: "float32")
    assert remembered() == "float32"
    assert "float32" in json.loads(cache.read_text()).values()


@pytest.mark.parametrize(
    ("half", "expected"), [(1.0, "float32"), (0.9, "float32"), (0.5, "bfloat16")]
)
def test_bfloat16_is_chosen_where_it_is_clearly_faster(monkeypatch, half, expected):
    monkeypatch.setattr(precision, "_seconds", lambda *, is_half: half if is_half else 1.0)
    before = torch.get_num_threads()
    assert probe() == expected
    assert torch.get_num_threads() == before


@pytest.fixture(scope="module")
def model():
    return load_model(find_model(None))


def probabilities(model, path, *, precision):
    """The upper left 512 x 512 pixels of an image, mapped: (1, N, 512, 512)."""
    pixels = np.asarray(Image.open(path))[:512, :512, :3]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    valid = torch.ones(1, 1, *image.shape[-2:], dtype=torch.bool)
    origin = torch.zeros(1, 2, dtype=torch.int64)
    return Predictor(model, CPU, precision=precision)(image, valid, origin)


def agreement(one, other):
    return (one.argmax(dim=1) == other.argmax(dim=1)).float().mean()


DUBAI = "dubai/Tile 2/images/image_part_005.jpg"


@pytest.mark.parametrize("image", [DUBAI, "eval_loveda/images/0.png"])
def test_maps_of_both_formats_agree_on_real_imagery(shared, model, image):
    single, half = (
        probabilities(model, shared / image, precision=kind) for kind in ("float32", "bfloat16")
    )
    assert half.dtype == torch.float32
    # Scores in three digits would give many pixels the same probabilities.
    assert half.unique().numel() > 0.5 * single.unique().numel()
    assert agreement(single, half) >= 0.995


def test_folded_batch_norms_leave_a_real_map_as_it_was(shared, model, monkeypatch):
    folded = probabilities(model, shared / DUBAI, precision="float32")
    monkeypatch.setattr(predictor, "fold_batch_norms", lambda *_: None)
    plain = probabilities(model, shared / DUBAI, precision="float32")
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)
    assert agreement(folded, plain) >= 0.9999
