import numpy as np
import pytest

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.reflect import read_reflected
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.chips import Augmentation, TrainingChips
from hyseg_cli.learn.data.split import GUARD_PX, SceneView, split_scene


class NumberedScene:
    """Every pixel knows where it is; labels are vertical or horizontal stripes."""

    def __init__(self, height, width, labels=None):
        self.height, self.width = height, width
        self.name, self.dtype, self.bands = "numbered", "float32", 2
        rows, cols = np.mgrid[:height, :width].astype(np.float32)
        self.image = np.stack([rows, cols])
        self.labels = (cols // 7 % 3).astype(np.uint8) if labels is None else labels

    def read(self, window):
        return Chip(*read_reflected(self._read, self.height, self.width, window))

    def _read(self, window):
        rows, cols = window.slices
        image = self.image[:, rows, cols]
        return image, np.ones(image.shape[1:], bool), self.labels[rows, cols]


def test_a_view_shows_its_window_and_reflects_at_its_own_edges():
    scene = NumberedScene(50, 60)
    view = SceneView(scene, Window(10, 20, 15, 25))
    inside = scene.image[:, 10:25, 20:45]
    np.testing.assert_array_equal(view.read(Window(0, 0, 15, 25)).image, inside)
    around = view.read(Window(-4, -5, 25, 35)).image
    np.testing.assert_array_equal(around, np.pad(inside, ((0, 0), (4, 6), (5, 5)), mode="reflect"))


@pytest.mark.parametrize("shape", [(1200, 500), (500, 1200)])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_no_training_chip_touches_the_validation_part(shape, share):
    scene = NumberedScene(*shape)
    training, validation = split_scene(scene, share)
    held_out = validation.window
    size = held_out.height * held_out.width / (shape[0] * shape[1])
    assert size == pytest.approx(share, rel=0.05)
    chips = TrainingChips(
        training, size=64, count=60, seed=0, augmentation=Augmentation(color=False, collar=0.0)
    )
    axis = 0 if shape[0] > shape[1] else 1
    start = (held_out.row, held_out.col)[axis]
    stop = start + (held_out.height, held_out.width)[axis]
    for chip in chips:
        places = chip["image"][axis]
        before, after = places.max() < start - GUARD_PX, places.min() > stop + GUARD_PX - 0.01
        assert before or after


def test_the_slice_with_the_most_typical_classes_is_held_out():
    labels = np.zeros((1000, 200), np.uint8)
    labels[:, 100:] = 1
    labels[:400] = 0
    labels[600:] = 1
    labels[400:600] = np.arange(200)[None] // 100
    _, validation = split_scene(NumberedScene(1000, 200, labels), 0.2)
    assert (validation.window.row, validation.window.height) == (400, 200)


def test_too_small_or_too_few_labels_are_told():
    with pytest.raises(UsageProblemError, match="too small"):
        split_scene(NumberedScene(300, 100), 0.2)
    labels = np.full((1000, 100), 255, np.uint8)
    labels[:90] = 1
    with pytest.raises(UsageProblemError, match="in one part only"):
        split_scene(NumberedScene(1000, 100, labels), 0.2)
