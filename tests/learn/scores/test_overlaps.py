import numpy as np
import torch

from hyseg_cli.geo.raster.reader import Pixels
from hyseg_cli.geo.tiling.blocks import whole_scene
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.tiling.strips import Strip
from hyseg_cli.learn.inference.stitch import map_strips
from hyseg_cli.learn.scores.overlaps import OverlapProbe


class ByTile:
    """Gives each tile a class of its own, or the pixel's value if `of_pixels`."""

    classes = 4
    device = torch.device("cpu")

    def __init__(self, *, of_pixels):
        self.of_pixels = of_pixels

    def __call__(self, image, valid, origin):
        if self.of_pixels:
            channels = image[:, 0].long()
        else:
            number = origin[:, 0].div(64, rounding_mode="floor") * 2 + origin[:, 1].div(
                64, rounding_mode="floor"
            )
            channels = (number % 4)[:, None, None].expand(-1, *image.shape[2:])
        return torch.nn.functional.one_hot(channels, 4).movedim(-1, 1).float()


def probe(classify, image, valid, grid):
    """A probe that has seen a scene held in memory."""
    found = OverlapProbe(classify, grid, (0, 0))
    strips = (
        Strip(
            tile_row,
            0,
            Pixels(
                np.pad(image, ((0, 0), (0, 64), (0, 64)), mode="reflect")[
                    :, tile_row.row : tile_row.row + tile_row.height
                ],
                np.pad(valid, ((0, 64), (0, 64)), constant_values=True)[
                    tile_row.row : tile_row.row + tile_row.height
                ],
            ),
        )
        for tile_row in grid.tile_rows()
    )
    for _ in map_strips(strips, grid, whole_scene(grid), found, batch_size=3):
        pass
    return found


def test_tiles_that_see_the_same_agree():
    image = np.random.default_rng(0).integers(0, 4, (1, 150, 140)).astype(np.uint8)
    grid = TileGrid.cover(150, 140, tile=96, overlap=32)
    found = probe(ByTile(of_pixels=True), image, np.ones((150, 140), bool), grid)
    # 2 x 2 tiles of 96 pixels, 32 shared: two vertical and two horizontal overlaps, each of
    # which is cut where the scene ends.
    assert found.pixels == 32 * (96 + (150 - 64)) + 32 * (96 + (140 - 64))
    assert found.disagreements == 0


def test_tiles_of_different_classes_disagree_wherever_both_see_data():
    valid = np.ones((150, 140), bool)
    valid[:, 70:80] = False
    grid = TileGrid.cover(150, 140, tile=96, overlap=32)
    found = probe(ByTile(of_pixels=False), np.zeros((1, 150, 140), np.uint8), valid, grid)
    columns_left, columns_right = 96 - 10, 140 - 64 - 10
    assert found.pixels == 22 * (96 + 86) + 32 * (columns_left + columns_right)
    assert found.disagreements == found.pixels
