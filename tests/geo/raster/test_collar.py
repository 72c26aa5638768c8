"""Collars against a flood fill of the whole image, and what must not be taken for one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hyseg_cli.geo.raster.collar import MIN_CELL, _flood_from_edge, find_collar
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader, scene_validity
from hyseg_cli.geo.window import Window


def collar_of(image, block=(64, 64), **options):
    """The collar and the windows that were read to find it."""
    windows = []

    def read(window):
        windows.append(window)
        return image[:, *window.slices]

    found = find_collar(
        read, image.shape[-2:], block=block, pixel_bytes=len(image) * image.itemsize, **options
    )
    return found, windows


def photo(height=1200, width=1400, seed=0):
    """An image with real darks and lights: values from 20 to 235."""
    rng = np.random.default_rng(seed)
    return rng.integers(20, 236, (3, height, width), dtype=np.uint8)


def outside_of_rotated_footprint(height, width):
    """bool (height, width): outside of a rectangle that is turned by 30 degrees."""
    row, col = np.mgrid[:height, :width] - np.array([height, width])[:, None, None] / 2
    u, v = col * np.cos(0.5) + row * np.sin(0.5), row * np.cos(0.5) - col * np.sin(0.5)
    return (np.abs(u) > 0.35 * width) | (np.abs(v) > 0.3 * height)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("block", [(64, 64), (1, 1400), (512, 512)])
def test_the_outside_of_a_rotated_footprint_is_found_to_the_pixel(value, block):
    image = photo()
    outside = outside_of_rotated_footprint(*image.shape[1:])
    image[:, outside] = value
    found, _ = collar_of(image, block)
    np.testing.assert_array_equal(found.mask(image, 0, 0), outside)
    assert found.share == pytest.approx(outside.mean(), abs=0.02)


def test_a_window_has_the_mask_of_its_place():
    image = photo()
    image[:, outside_of_rotated_footprint(*image.shape[1:])] = 0
    found, _ = collar_of(image)
    whole = found.mask(image, 0, 0)
    for window in (Window(0, 0, 5, 5), Window(333, 111, 250, 77), Window(1193, 1399, 7, 1)):
        part = found.mask(image[:, *window.slices], window.row, window.col)
        np.testing.assert_array_equal(part, whole[window.slices])


def test_black_inside_and_small_white_at_the_edge_are_no_collar():
    image = photo()
    image[:, 300:700, 300:900] = 0  # an island of black, as large as any collar
    image[:, :200, 600:670] = 255  # a saturated roof that the edge cuts: 70 of 1200 pixels
    assert collar_of(image)[0] is None


def test_dark_water_at_the_edge_is_no_collar():
    image = photo()
    image[:, 500:, :] = np.random.default_rng(1).integers(0, 9, (3, 700, 1400), dtype=np.uint8)
    assert collar_of(image)[0] is None


def test_one_band_of_zeros_is_no_collar():
    image = photo()
    image[0, :400] = 0
    assert collar_of(image)[0] is None


def test_only_the_edge_and_the_collar_are_read():
    image = photo(4096, 4096)
    image[:, :1024] = 0
    found, windows = collar_of(image)
    assert found.mask(image, 0, 0).sum() == 1024 * 4096
    assert len(windows) == len(set(windows))
    # 8 x 8 blocks: two rows of collar, the row that it runs into, and the edges of the rest.
    assert len(windows) == 8 * 3 + 2 * 5 + 6
    assert max(w.height * w.width for w in windows) == 512 * 512


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 65535), ("uint16", 0), ("int16", 0)])
def test_other_types_have_collars_of_exact_values(dtype, value):
    image = photo().astype(dtype) + 100
    image[:, :, :300] = value
    found, _ = collar_of(image)
    np.testing.assert_array_equal(found.mask(image, 0, 0), (image == value).all(axis=0))


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    step=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    share=st.floats(0.3, 1.0),
)
@settings(deadline=None, max_examples=60)
def test_the_flood_by_chunks_is_the_flood_of_the_whole(seed, height, width, step, share):
    cells = np.random.default_rng(seed).random((2, height, width)) < share
    reached = _flood_from_edge(lambda chunk: cells[:, *chunk], (height, width), step)
    for plane, found in zip(cells, reached, strict=True):
        label, _ = ndimage.label(plane)
        edge = np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]))
        np.testing.assert_array_equal(found, np.isin(label, edge[edge > 0]))


def test_cells_grow_with_the_scene_so_that_their_number_is_bounded():
    image = photo()
    image[:, :, :300] = 0
    found, _ = collar_of(image, max_cells=1000)
    assert found.cell > MIN_CELL
    assert found.cells[0].size <= 1000
    np.testing.assert_array_equal(found.mask(image, 0, 0), (image == 0).all(axis=0))


def test_what_a_raster_declares_is_taken_at_its_word(write_raster):
    image = photo(400, 400)
    image[:, :200] = 255
    for profile, expected in (({"nodata": 0}, 0), ({}, 200 * 400)):
        scene = open_raster(write_raster(image, **profile))
        rule = scene_validity(scene, (1, 2, 3), nodata=(), find_collars=True)
        with SceneReader(scene, (1, 2, 3), validity=rule) as reader:
            pixels = reader.read(Window(0, 0, 400, 400))
        assert (~pixels.valid).sum() == expected
    without = scene_validity(scene, (1, 2, 3), nodata=(), find_collars=False)
    assert without.collar is None
    assert scene_validity(scene, (1, 2, 3), nodata=(7.0,), find_collars=True).collar is None


@pytest.mark.parametrize("quality", [75, 90])
def test_collars_survive_lossy_compression(write_raster, quality):
    smooth = ndimage.gaussian_filter(photo(), (0, 3, 3))
    outside = outside_of_rotated_footprint(*smooth.shape[1:])
    smooth[:, outside] = 0
    path = write_raster(
        smooth, photometric="YCBCR", compress="jpeg", jpeg_quality=quality, interleave="pixel"
    )
    scene = open_raster(path)
    rule = scene_validity(scene, (1, 2, 3), nodata=(), find_collars=True)
    with SceneReader(scene, (1, 2, 3), validity=rule) as reader:
        valid = reader.read(Window(0, 0, *smooth.shape[1:])).valid
    # Beside the border compression mixes both sides within its blocks of 16 pixels.
    far_inside = ndimage.binary_erosion(~outside, iterations=16)
    far_outside = ndimage.binary_erosion(outside, iterations=16, border_value=1)
    assert valid[far_inside].all()
    assert not valid[far_outside].any()
    assert (valid == ~outside).mean() > 0.99


@given(row=st.integers(-50, 250), col=st.integers(-50, 250), size=st.integers(1, 120))
@settings(deadline=None, max_examples=60)
def test_a_scene_in_a_larger_raster_keeps_its_collar_and_marks_nothing_else(row, col, size):
    image = photo(96, 112)
    image[:, :40] = 0
    found, _ = collar_of(image)
    raster = np.zeros((3, 400, 400), np.uint8)
    raster[:, 72:168, 60:172] = image
    expected = np.zeros((400, 400), bool)
    expected[72:168, 60:172] = found.mask(image, 0, 0)
    assert expected.sum() == 40 * 112
    row, col = max(row, 0), max(col, 0)
    window = slice(row, row + size), slice(col, col + size)
    mask = replace(found, origin=(72, 60)).mask(raster[:, *window], row, col)
    np.testing.assert_array_equal(mask, expected[window])
