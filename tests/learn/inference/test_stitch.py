"""The tiling oracle: what comes out of tiles is what one pass over the scene gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.tiling.blocks import whole_scene
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.tiling.strips import read_strips
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.inference.stitch import map_strips
from hyseg_cli.learn.model.weights import load_model


class PerPixel:
    """Class probabilities from the pixel's own three bands."""

    classes = 4
    device = torch.device("cpu")

    def __init__(self):
        self.mix = torch.nn.Conv2d(3, 4, 1)
        torch.nn.init.normal_(self.mix.weight, std=0.05)

    def __call__(self, image, valid, origin):
        with torch.inference_mode():
            return self.mix(image.float()).softmax(dim=1)


class SmallConvNet(PerPixel):
    """Three 5 x 5 convolutions: each pixel sees 6 pixels in every direction."""

    reach = 6

    def __init__(self):
        self.mix = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, padding=2),
            torch.nn.Tanh(),
            torch.nn.Conv2d(8, 8, 5, padding=2),
            torch.nn.Tanh(),
            torch.nn.Conv2d(8, 4, 5, padding=2),
        )
        for layer in self.mix[::2]:
            torch.nn.init.normal_(layer.weight, std=0.3)

    def __call__(self, image, valid, origin):
        return super().__call__(image / 128.0 - 1.0, valid, origin)


@pytest.fixture
def scene(write_raster):
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, 255, (3, 60, 50))
    array = np.kron(coarse, np.ones((1, 6, 7))) + rng.integers(-20, 20, (3, 360, 350))
    return open_raster(write_raster(np.clip(array, 1, 255).astype(np.uint8), nodata=0))


def whole(scene, classify):
    with SceneReader(scene, (1, 2, 3)) as reader:
        image = reader.read(Window(0, 0, scene.height, scene.width)).image
    tensor = torch.from_numpy(image)[None]
    return classify(tensor, None, None)[0].argmax(dim=0).numpy().astype(np.uint8)


def tiled(scene, classify, *, tile=128, overlap=64, batch_size=3, phase=(0, 0)):
    grid = TileGrid.cover(scene.height, scene.width, tile=tile, overlap=overlap, phase=phase)
    with SceneReader(scene, (1, 2, 3)) as reader:
        whole = whole_scene(grid)
        rows = map_strips(
            read_strips(reader, grid, whole),
            grid,
            whole,
            classify,
            batch_size=batch_size,
            noise_origin=phase,
        )
        return np.concatenate([part.channels for part in rows])


@pytest.mark.parametrize("overlap", [0, 32, 64])
@pytest.mark.parametrize("phase", [(0, 0), (5, 31)])
def test_a_per_pixel_network_gives_exactly_the_whole_scenes_map(scene, overlap, phase):
    classify = PerPixel()
    expected = whole(scene, classify)
    assert (tiled(scene, classify, overlap=overlap, phase=phase) == expected).all()
    assert len(np.unique(expected)) > 1


def test_beyond_the_receptive_field_tiles_agree_with_the_whole_scene(scene):
    classify = SmallConvNet()
    # The trim of an overlap of 64 is 8 pixels, more than the network's reach of 6.
    found, expected = tiled(scene, classify, overlap=64), whole(scene, classify)
    inner = (slice(classify.reach, -classify.reach),) * 2
    assert (found[inner] == expected[inner]).all()
    assert len(np.unique(expected)) == 4


def test_less_overlap_than_the_receptive_field_shows(scene):
    # The test above could not fail if tiles did not matter at all.
    classify = SmallConvNet()
    assert (tiled(scene, classify, overlap=0) != whole(scene, classify)).any()


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_the_batch_size_changes_nothing(scene, batch_size):
    classify = SmallConvNet()
    assert (
        tiled(scene, classify, batch_size=batch_size) == tiled(scene, classify, batch_size=3)
    ).all()


def test_empty_pixels_stay_empty_and_empty_tiles_are_not_run(write_raster):
    array = np.full((3, 100, 600), 90, np.uint8)
    array[:, :, 200:] = 0
    array[:, 40, 50] = 0
    scene = open_raster(write_raster(array, nodata=0))
    calls = []

    class Counting(PerPixel):
        def __call__(self, image, valid, origin):
            calls.append(len(image))
            return super().__call__(image, valid, origin)

    found = tiled(scene, Counting(), tile=128, overlap=32)
    assert ((found == 255) == (array[0] == 0)).all()
    grid = TileGrid.cover(100, 600, tile=128, overlap=32)
    starts_before_the_end_of_data = sum(start < 200 for start in grid.cols.starts)
    assert sum(calls) == starts_before_the_end_of_data < len(grid)


def test_origins_are_places_on_the_noise_grid(scene):
    seen = []

    class Watching(PerPixel):
        def __call__(self, image, valid, origin):
            seen.extend(map(tuple, origin.tolist()))
            return super().__call__(image, valid, origin)

    tiled(scene, Watching(), tile=128, overlap=64, phase=(1000, 2000))
    assert seen[0] == (992, 1984)
    assert all(row % 32 == 0 and col % 32 == 0 for row, col in seen)
    assert len(set(seen)) == len(seen)


def test_16_bit_scenes_pass_through(write_raster):
    array = np.random.default_rng(0).integers(0, 65535, (3, 70, 70), dtype=np.uint16)
    scene = open_raster(write_raster(array))
    assert tiled(scene, PerPixel(), tile=64, overlap=32).shape == (70, 70)


def test_the_real_network_agrees_across_tilings_where_it_is_sure(scene, tiny_model):
    predictor = Predictor(load_model(tiny_model), torch.device("cpu"))
    one = tiled(scene, predictor, tile=256, overlap=128)
    again = tiled(scene, predictor, tile=256, overlap=128, batch_size=1)
    assert (one == again).mean() > 0.999


def test_probabilities_are_those_of_the_whole_scene(scene):
    classify = PerPixel()
    grid = TileGrid.cover(scene.height, scene.width, tile=128, overlap=64)
    with SceneReader(scene, (1, 2, 3)) as reader:
        parts = list(
            map_strips(
                read_strips(reader, grid, whole_scene(grid)),
                grid,
                whole_scene(grid),
                classify,
                batch_size=2,
                quantised=True,
            )
        )
        pixels = reader.read(Window(0, 0, scene.height, scene.width))
    levels = np.concatenate([part.quantised for part in parts], axis=1)
    expected = classify(torch.from_numpy(pixels.image)[None], None, None)[0].numpy() * 254
    assert (levels[:, ~pixels.valid] == 255).all()
    found = levels[:, pixels.valid].astype(float)
    np.testing.assert_allclose(found, expected[:, pixels.valid], atol=0.51)
