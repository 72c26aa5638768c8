import numpy as np
import torch
from matplotlib.image import imread

from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.chips import ValidationChips
from hyseg_cli.learn.training.validation_pictures import UNKNOWN, compose, display, telling_chips


def test_each_map_is_drawn_in_the_colours_of_the_legend(tmp_path, legend):
    rng = np.random.default_rng(0)
    images = [rng.random((40, 40, 3)) for _ in range(2)]
    label = np.full((2, 40, 40), 255, np.uint8)
    prediction = np.zeros((2, 40, 40), np.uint8)
    label[:, :20], prediction[:, :, :20] = 1, 3
    path = tmp_path / "picture.png"
    compose(images, {"label": label, "prediction": prediction}, legend).savefig(path, dpi=120)
    drawn = (imread(path)[..., :3] * 255).round().astype(int)
    for color in (UNKNOWN, *(legend.classes[channel].color for channel in (0, 1, 3))):
        assert (drawn == color).all(axis=-1).sum() > 2000, color
    # Of a class without pixels there is the small square in the legend alone.
    assert 0 < (drawn == legend.classes[4].color).all(axis=-1).sum() < 1000


def test_an_image_of_any_range_and_band_count_can_be_seen():
    ramp = torch.linspace(0, 1, 100).view(1, 10, 10)
    valid = torch.ones(10, 10, dtype=torch.bool)
    valid[0, 0] = False
    for bands, scale, offset in ((1, 1.0, 0.0), (3, 60_000.0, -200.0), (8, 1e-3, 5.0)):
        image = ramp.repeat(bands, 1, 1) * scale + offset
        image[:, 0, 0] = float("nan")
        shown = display(image, valid)
        assert shown.shape == (10, 10, 3)
        assert (shown.min(), shown.max()) == (0.0, 1.0)
        assert 0.4 < shown[5, 5, 0] < 0.6
    assert not display(image, torch.zeros_like(valid)).any()


def test_the_chips_with_most_classes_are_shown():
    class Stripes:
        """Every chip of 32 columns has as many classes as its number."""

        height, width, name, dtype, bands = 32, 32 * 8, "stripes", "uint8", 3

        def read(self, window):
            count = 1 + window.col // 32
            labels = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % count
            return Chip(np.zeros((3, 32, 32), np.uint8), np.ones((32, 32), bool), labels)

    chosen = telling_chips(ValidationChips([Stripes()], size=32))
    assert [len(np.unique(chip["labels"])) for chip in chosen] == [8, 7, 6, 5]
