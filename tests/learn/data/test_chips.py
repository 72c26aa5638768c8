import numpy as np
import pytest
import torch

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.chips import MAX_CLASS_SHARE, Augmentation, TrainingChips, ValidationChips
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import find_pairs

PLAIN = Augmentation(scale=(1.0, 1.0), color=False, collar=0.0)


@pytest.fixture(scope="module")
def scenes(scene_folder, legend):
    return open_pairs(find_pairs(scene_folder / "images", scene_folder / "labels"), legend)


def chips(scenes, augmentation=None, **options):
    values = {"size": 64, "count": 20, "seed": 0} | options
    return TrainingChips(scenes, augmentation=augmentation or Augmentation(), **values)


def test_chips_have_one_shape_and_honest_types(scenes):
    for sample in chips(scenes):
        assert sample["image"].shape == (3, 64, 64)
        assert sample["image"].dtype == torch.uint8
        assert sample["valid"].shape == (1, 64, 64)
        assert sample["valid"].dtype == torch.bool
        assert sample["labels"].shape == (64, 64)
        assert set(sample["labels"].unique().tolist()) <= {0, 1, 2, 3, 4, 255}


def test_a_chip_is_determined_by_seed_and_number(scenes):
    one, other = chips(scenes), chips(scenes, count=50)
    for index in (3, 0, 17):
        for key, value in one[index].items():
            assert torch.equal(value, other[index][key])
    assert not torch.equal(one[0]["image"], chips(scenes, seed=1)[0]["image"])


def test_image_and_labels_turn_together(scenes):
    # A scene whose image repeats its labels: whatever is done to one is done to the other.
    class Telltale:
        height, width, name, dtype, bands = 200, 200, "telltale", "uint8", 1
        values = np.random.default_rng(0).integers(0, 5, (200, 200)).astype(np.uint8)

        def read(self, window: Window) -> Chip:
            part = self.values[window.slices]
            return Chip(part[None], part != 1, part)

    augmentation = Augmentation(scale=(1.0, 1.0), color=True, collar=0.0)
    for sample in chips([Telltale()], augmentation):
        valid = sample["valid"][0]
        assert torch.equal(sample["image"][0][valid].long(), sample["labels"][valid])
        assert torch.equal(valid, sample["labels"] != 1)


def test_flips_and_turns_reach_all_eight_orientations():
    class Corner:
        height, width, name, dtype, bands = 64, 64, "corner", "uint8", 1

        def read(self, window: Window) -> Chip:
            values = np.zeros((64, 64), np.uint8)
            values[:8, :20] = 1
            return Chip(values[None], np.ones((64, 64), bool), values)

    seen = {sample["labels"].numpy().tobytes() for sample in chips([Corner()], PLAIN, count=100)}
    assert len(seen) == 8


def test_windows_of_one_class_are_drawn_again(scenes):
    shares = []
    for sample in chips(scenes, PLAIN, count=60):
        counts = torch.bincount(sample["labels"].flatten(), minlength=256)[:255]
        shares.append((counts.max() / counts.sum().clamp_min(1)).item())
    assert np.mean(np.array(shares) > MAX_CLASS_SHARE) < 0.05


def test_collars_are_empty_and_unlabelled(scenes):
    augmentation = Augmentation(scale=(1.0, 1.0), color=False, collar=1.0)
    for sample in chips(scenes, augmentation):
        empty = ~sample["valid"][0]
        assert 0 < empty.float().mean() < 0.6
        assert (sample["labels"][empty] == 255).all()


def test_validation_chips_cover_every_labelled_pixel_once(scenes):
    chips = ValidationChips(scenes, size=96)
    counted = sum((sample["labels"] != 255).sum().item() for sample in chips)
    expected = sum(
        (scene.read(Window(0, 0, scene.height, scene.width)).labels != 255).sum()
        for scene in scenes
    )
    assert counted == expected
    assert chips[1]["origin"].tolist() == [0, 96]


class Sparse:
    """Float pixels with holes of NaN, and a few small labels."""

    height, width, name, dtype, bands = 1500, 1500, "sparse", "float32", 2

    def __init__(self, hole):
        rng = np.random.default_rng(0)
        self.image = rng.uniform(0, 100, (2, 1500, 1500)).astype(np.float32)
        self.valid = np.kron(rng.random((50, 50)) > 0.2, np.ones((30, 30), bool))
        self.image[:, ~self.valid] = hole
        self.labels = np.full((1500, 1500), 255, np.uint8)
        for row, col in rng.integers(0, 1400, (20, 2)):
            self.labels[row : row + 40, col : col + 40] = rng.integers(3)

    def read(self, window: Window) -> Chip:
        rows, cols = window.slices
        return Chip(self.image[:, rows, cols], self.valid[rows, cols], self.labels[rows, cols])


@pytest.mark.parametrize("hole", [np.nan, -9999.0])
def test_what_holds_no_data_does_not_bleed_into_what_does(hole):
    for sample in chips([Sparse(hole)], Augmentation()):
        pixels = sample["image"][:, sample["valid"][0]]
        assert torch.isfinite(sample["image"]).all()
        assert pixels.min() >= -0.01
        assert pixels.max() <= 100.01


def test_most_chips_show_one_of_a_few_polygons():
    found = [bool((s["labels"] != 255).any()) for s in chips([Sparse(0.0)], PLAIN, count=60)]
    share = (chips([Sparse(0.0)], PLAIN).scenes[0].labels != 255).mean()
    assert share < 0.03
    # One window in ten shows a polygon: ten draws find one for two chips of three.
    assert np.mean(found) > 0.5
