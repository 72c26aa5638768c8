import numpy as np
import pytest

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.tiling.blocks import whole_scene
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.tiling.strips import read_strips
from hyseg_cli.geo.window import Window


@pytest.mark.parametrize("size", [(300, 130), (1, 90), (64, 1), (513, 70)])
@pytest.mark.parametrize("overlap", [0, 32, 64])
@pytest.mark.parametrize("phase", [(0, 0), (7, 30)])
def test_strips_are_the_windows_of_their_bands(write_raster, size, overlap, phase):
    array = np.random.default_rng(0).integers(0, 255, (2, *size), dtype=np.uint8)
    scene = open_raster(write_raster(array, nodata=3))
    grid = TileGrid.cover(*size, tile=128, overlap=overlap, phase=phase)
    width = grid.cols.starts[-1] + grid.cols.length - grid.cols.first
    with SceneReader(scene, (1, 2)) as reader:
        tile_rows = []
        for strip in read_strips(reader, grid, whole_scene(grid)):
            tile_rows.append(strip.tile_row)
            window = Window(strip.tile_row.row, grid.cols.first, strip.tile_row.height, width)
            expected = reader.read(window)
            np.testing.assert_array_equal(strip.pixels.image, expected.image)
            np.testing.assert_array_equal(strip.pixels.valid, expected.valid)
        assert tile_rows == list(grid.tile_rows())


def test_every_row_is_read_once(write_raster, monkeypatch):
    array = np.zeros((1, 1000, 40), np.uint8)
    scene = open_raster(write_raster(array))
    grid = TileGrid.cover(1000, 40, tile=128, overlap=64)
    rows_read = []
    with SceneReader(scene, (1,)) as reader:
        inside = reader._read_inside

        def counting(window, *room):
            rows_read.extend(range(window.row, window.row_stop))
            return inside(window, *room)

        monkeypatch.setattr(reader, "_read_inside", counting)
        list(read_strips(reader, grid, whole_scene(grid)))
    # The last tile reaches beyond the scene and is filled by rows read for its reflection.
    beyond = grid.rows.starts[-1] + grid.rows.length - 1000
    assert len(rows_read) <= 1000 + beyond
    assert set(rows_read) == set(range(1000))


@pytest.mark.parametrize("block", [16, 128, 256, 512])
def test_no_block_is_decoded_twice(write_raster, monkeypatch, block):
    array = np.random.default_rng(0).integers(0, 255, (1, 700, 40), dtype=np.uint8)
    path = write_raster(array, tiled=True, blockxsize=16, blockysize=block)
    scene = open_raster(path)
    assert scene.block[0] == block
    grid = TileGrid.cover(700, 40, tile=128, overlap=32)
    decoded = []
    with SceneReader(scene, (1,)) as reader:
        inside = reader._read_inside

        def noting(window, *room):
            decoded.extend(range(window.row // block, (window.row_stop - 1) // block + 1))
            return inside(window, *room)

        monkeypatch.setattr(reader, "_read_inside", noting)
        for strip in read_strips(reader, grid, whole_scene(grid)):
            rows = range(
                max(strip.tile_row.row, 0), min(strip.tile_row.row + strip.tile_row.height, 700)
            )
            part = strip.pixels.image[:, rows.start - strip.tile_row.row :][:, : len(rows)]
            np.testing.assert_array_equal(part[:, :, :40], array[:, rows.start : rows.stop])
    # Blocks twice as high as tiles would fill the memory; those of the last rows are read again
    # for their reflection.
    above = [number for number in decoded if number < 700 // block - 1]
    assert block > 2 * 128 or len(above) == len(set(above))
