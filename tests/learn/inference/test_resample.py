"""Scenes that the network sees at another resolution: anchored, without seams, on their grid."""

import numpy as np
import pytest
import torch
from affine import Affine
from rasterio.transform import from_origin
from torch.nn.functional import interpolate

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.tiling.blocks import whole_scene
from hyseg_cli.geo.tiling.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.tiling.strips import read_strips
from hyseg_cli.learn.inference.resample import AtOtherResolution
from hyseg_cli.learn.inference.stitch import map_strips

ALIGNMENTS = [8, 19, 77, 96]
"""A quarter, 0.6, 2.4 and three times the pixel of the network."""
WHOLE = from_origin(500_000.25, 5_400_000.25, 0.5, 0.5)


class Levels:
    """Each pixel by itself: five classes by the value of the only band; remembers the sizes."""

    classes = 5
    device = torch.device("cpu")

    def __init__(self):
        self.sizes, self.origins = set(), []

    def __call__(self, image, valid, origin):
        self.sizes.add(tuple(image.shape[-2:]))
        self.origins += origin.tolist()
        centres = torch.arange(5.0).view(1, 5, 1, 1) * 50 + 25
        return torch.softmax(-((image - centres) ** 2) / 500, dim=1)


def smooth(height, width, seed=0):
    """An image with structure of some ten pixels, 1 to 250."""
    small = np.random.default_rng(seed).random((1, 1, height // 12 + 2, width // 12 + 2))
    large = interpolate(torch.from_numpy(small), (height, width), mode="bicubic")[0]
    return (large.clamp(0, 1) * 249 + 1).to(torch.uint8).numpy()


def class_map(path, alignment, *, tile=128, batch=3, classify=None):
    scene = open_raster(path)
    grid = TileGrid.cover(
        scene.height, scene.width, tile=tile, overlap=64, phase=scene.noise_origin,
        alignment=alignment,
    )  # fmt: skip
    network = AtOtherResolution(classify or Levels(), alignment)
    with SceneReader(scene, (1,)) as reader:
        rows = map_strips(
            read_strips(reader, grid, whole_scene(grid)), grid, whole_scene(grid), network,
            batch_size=batch, noise_origin=scene.noise_origin,
        )  # fmt: skip
        return np.concatenate([part.channels for part in rows])


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_tiles_leave_no_trace_in_the_map(write_raster, alignment):
    path = write_raster(smooth(400, 500), transform=WHOLE)
    one_tile = class_map(path, alignment, tile=4096)
    small = class_map(path, alignment, tile=128, batch=1)
    np.testing.assert_array_equal(class_map(path, alignment, tile=128, batch=5), small)
    for found in (small, class_map(path, alignment, tile=256, batch=2)):
        # Weights are rounded by the place in the tile: of 200,000 pixels one or two are a tie.
        assert (found != one_tile).sum() <= 2
    assert len(np.unique(one_tile)) == 5


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_scenes_cut_from_one_grid_map_alike(write_raster, alignment):
    image = smooth(400, 500)
    whole = class_map(write_raster(image, "whole.tif", transform=WHOLE), alignment)
    row, col = 61, 113
    part = write_raster(
        image[:, row:, col:], "part.tif", transform=WHOLE @ Affine.translation(col, row)
    )
    reach = 3 * max(1, alignment // ALIGNMENT + 1)  # pixels that the reflected edge reaches into
    found = class_map(part, alignment)[reach:, reach:]
    assert (found != whole[row + reach :, col + reach :]).sum() <= 2  # ties, as above


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_network_sees_whole_tiles_on_its_own_noise_grid(write_raster, alignment):
    levels = Levels()
    class_map(write_raster(smooth(700, 900), transform=WHOLE), alignment, classify=levels)
    assert all(height % ALIGNMENT == 0 == width % ALIGNMENT for height, width in levels.sizes)
    assert max(levels.sizes) <= (128, 128)
    assert all(row % ALIGNMENT == 0 == col % ALIGNMENT for row, col in levels.origins)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_what_stands_in_empty_pixels_does_not_matter(write_raster, alignment):
    image = smooth(300, 300).astype(np.float32)
    image[:, 100:180, 50:240] = np.nan
    image[:, 10:200:7, 20:280:3] = np.nan
    filled = np.where(np.isnan(image), np.float32(-1e30), image)
    first = class_map(write_raster(image, "nan.tif"), alignment)
    second = class_map(write_raster(filled, "low.tif", nodata=-1e30), alignment)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first == 255, np.isnan(image[0]))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_a_constant_beside_emptiness_stays_that_constant(write_raster, alignment):
    image = np.full((1, 200, 200), 125.0, np.float32)
    image[:, :, 80:] = np.nan
    found = class_map(write_raster(image), alignment)
    assert (found[:, :80] == 2).all()
    assert (found[:, 80:] == 255).all()


def test_a_coarser_view_is_the_weighted_mean_of_the_triangle(write_raster):
    """Ratio 2: weights 1/8, 3/8, 3/8, 1/8 of four pixels, counted by hand."""
    seen = []

    class Watch(Levels):
        def __call__(self, image, valid, origin):
            seen.append(image)
            return super().__call__(image, valid, origin)

    row = np.random.default_rng(0).random(64).astype(np.float32)
    image = torch.from_numpy(np.broadcast_to(row, (64, 64)).copy())[None, None]
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    AtOtherResolution(Watch(), 64)(image, valid, torch.zeros(1, 2, dtype=torch.int64))
    expected = (row[9:61:2] + 3 * row[10:62:2] + 3 * row[11:63:2] + row[12:64:2]) / 8
    np.testing.assert_allclose(seen[0][0, 0, 0, 5:31], expected, rtol=1e-6)
