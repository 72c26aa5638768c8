"""Whether a scene looks like what a model was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_card
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.inference.resample import spread_windows
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.applicability import (
    MOST_LOOKS,
    NEAREST,
    USUAL,
    Applicability,
    Unlike,
)
from hyseg_cli.learn.model.card import Radiometry, read_card
from hyseg_cli.learn.model.shift import Shift
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.messages import Silence
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.plan import inspect_scene
from hyseg_cli.workflows.train.looks import Looking
from hyseg_models import build, preset


def looks(count, seed, shift=0.0):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * 3 + shift


@settings(max_examples=30, deadline=None)
@given(training=st.integers(3, 40), held_out=st.integers(3, 20), seed=st.integers(0, 1000))
def test_the_index_is_the_mean_distance_to_the_nearest_looks(training, held_out, seed):
    known, others = looks(training, seed), looks(held_out, seed + 1)
    applicability = Applicability.learned(known, others)

    def mean_distance(look):
        ranges = known.std(dim=0).numpy()
        apart = np.linalg.norm((known.numpy() - look.numpy()) / ranges, axis=1)
        return np.sort(apart)[:NEAREST].mean()

    usual = np.quantile([mean_distance(look) for look in others], USUAL)
    strange = looks(4, seed + 2, shift=5.0)
    expected = np.array([mean_distance(look) for look in strange]) / usual
    assert applicability.dissimilarity(strange).numpy() == pytest.approx(expected, rel=0.02)
    share = (applicability.dissimilarity(others) <= 1.0).float().mean()
    assert share >= USUAL - 1 / held_out


def test_it_is_the_same_from_a_file():
    applicability = Applicability.learned(looks(20, 0), looks(5, 1))
    again = Applicability.of_tensors(applicability.to_tensors())
    strange = looks(7, 2, shift=1.0)
    assert torch.equal(again.dissimilarity(strange), applicability.dissimilarity(strange))
    assert Applicability.of_tensors({"decoder.weight": torch.zeros(1)}) is None


def test_more_places_are_known_and_the_first_are_not_forgotten():
    first = Applicability.learned(looks(40, 0), looks(10, 1))
    far = looks(12, 2, shift=30.0)
    assert (first.dissimilarity(far) > 1).all()
    both = first.with_more(far)
    assert (both.dissimilarity(far) < 1).all()
    known = looks(40, 0)
    torch.testing.assert_close(both.dissimilarity(known), first.dissimilarity(known))
    many = both.with_more(looks(2000, 3)).with_more(looks(2000, 4))
    assert len(many.looks) == MOST_LOOKS


@pytest.mark.parametrize("damage", ["missing", "narrow", "flat", "empty", "infinite", "zero"])
def test_tensors_that_do_not_belong_together_are_refused(damage):
    tensors = Applicability.learned(looks(20, 0), looks(5, 1)).to_tensors()
    if damage == "missing":
        del tensors["applicability.std"]
    elif damage == "narrow":
        tensors["applicability.mean"] = torch.zeros(5)
    elif damage == "flat":
        tensors["applicability.looks"] = torch.zeros(6)
    elif damage == "empty":
        tensors["applicability.looks"] = torch.zeros(0, 6)
    elif damage == "infinite":
        tensors["applicability.mean"] = torch.full((6,), torch.inf)
    else:
        tensors["applicability.usual"] = torch.zeros(())
    with pytest.raises(ValueError, match="applicability"):
        Applicability.of_tensors(tensors)


def test_too_few_looks_say_nothing():
    assert Applicability.learned(looks(2, 0), looks(9, 1)) is None
    assert Applicability.learned(looks(9, 0), looks(2, 1)) is None


def test_only_what_is_unusual_in_most_windows_is_a_warning():
    assert Unlike.of(torch.tensor([0.5, 0.9, 3.0]), "a.tif").warning is None
    found = Unlike.of(torch.tensor([0.5, 1.2, 3.0]), "a.tif")
    assert found.dissimilarity == pytest.approx(1.2)
    assert "a.tif" in found.warning
    assert "1.20" in found.warning


@pytest.mark.parametrize(
    ("size", "alignment", "windows", "seen"),
    [
        ((600, 900), 32, 6, (256, 256)),
        ((600, 900), 64, 1, (256, 256)),
        ((40, 30), 32, 1, (32, 32)),
        ((1000, 100), 16, 3, (256, 192)),
    ],
)
def test_first_looks_are_spread_over_a_scene(write_raster, size, alignment, windows, seen):
    image = np.arange(3 * size[0] * size[1]).reshape(3, *size).astype(np.float32)
    raster = open_raster(str(write_raster(image)))
    whole = Window(0, 0, *size)
    with SceneReader(raster, (1, 2, 3)) as reader:
        found = list(spread_windows(reader, whole, alignment))
    assert len(found) == windows
    for pixels, valid in found:
        assert pixels.shape == (1, 3, *seen)
        assert valid.all()
        assert image.min() <= pixels.min() <= pixels.max() <= image.max()
    middle = torch.stack([pixels.mean() for pixels, _ in found]).mean()
    assert middle.item() == pytest.approx(image.mean(), rel=0.02)


def test_windows_without_data_are_left_out(write_raster):
    image = np.full((3, 768, 768), 9, np.uint8)
    image[:, 256:] = 0
    raster = open_raster(str(write_raster(image, nodata=0)))
    with SceneReader(raster, (1, 2, 3)) as reader:
        assert len(list(spread_windows(reader, Window(0, 0, 768, 768), 32))) == 3


def test_what_another_backbone_has_seen_is_refused(tmp_path, tiny_model):
    applicability = Applicability.learned(looks(20, 0), looks(5, 1))
    model, path = load_model(tiny_model), tmp_path / "other.safetensors"
    save_model(path, model.network, model.card, applicability=applicability)
    with pytest.raises(ModelMismatchError, match="not of its backbone"):
        load_model(path)


def test_a_scene_that_looks_known_is_not_announced_for_its_values(write_raster, tiny_model):
    path = str(write_raster(np.full((3, 64, 64), 250, np.uint8)))
    request = PredictSettings(inputs=(path,), out=Path("map.tif"), model=tiny_model)
    inspection = inspect_scene(path, read_card(tiny_model), request)
    far = replace(inspection, shift=Shift(2.0, "values are far"))
    assert "values are far" in far.warnings
    known = replace(far, unlike=Unlike(0.8, None))
    assert not known.warnings
    assert replace(far, unlike=Unlike(1.4, "unlike")).warnings == ("unlike",)


class Grey:
    """A scene that knows which of its windows were read."""

    name, bands, dtype, resolution_m = "grey", 3, "uint8", 0.5

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.read_so_far = []

    def read(self, window):
        self.read_so_far.append(window)
        shape = window.height, window.width
        image, valid = np.full((3, *shape), 9, np.uint8), np.ones(shape, bool)
        return Chip(image, valid, np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("most", "counts"), [(2, (1, 1)), (4, (2, 2)), (9, (2, 7)), (99, (2, 24))])
def test_every_scene_is_remembered_before_any_is_twice(monkeypatch, legend, most, counts):
    monkeypatch.setattr("hyseg_cli.workflows.train.looks.MOST_LOOKS", most)
    scenes = [Grey(256, 600), Grey(1024, 1600)]
    card, cpu = make_card(legend), torch.device("cpu")
    standardise = Standardise(Radiometry(card.mean, card.std))
    whole = preset("vit+plain")
    host = replace(whole.host, backbone="test_vit", depths=(3, 6))
    network = build(replace(whole, classes=5, host=host))
    found = Looking(network, standardise, card, cpu, Silence()).at(scenes)
    assert len(found) == sum(counts)
    assert tuple(len(set(scene.read_so_far)) for scene in scenes) == counts
