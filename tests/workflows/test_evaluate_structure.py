"""Structure, boundaries and seams of maps, by `hyseg evaluate`."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from workflows.evaluating import numbers, run

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.scores.seams import describe_tiles


def test_pixel_and_boundary_scores_do_not_depend_on_the_patches(pair):
    path, truth = pair
    whole, cut = (
        numbers(path, "--reference", truth, "--structure", "--patch-size", size)
        for size in (1000, 64)
    )
    for name in ("miou", "overall_accuracy", "confusion", "boundary_iou", "boundary_f1"):
        assert whole[name] == cut[name]
    assert whole["patches"] == 1
    assert cut["patches"] == 5 * 6


def test_without_the_package_for_it_structure_is_refused_before_any_work(pair, monkeypatch):
    monkeypatch.setattr("hyseg_cli.learn.scores.structure.find_spec", lambda _: None)
    result = run(pair[0], "--reference", pair[1], "--structure")
    assert result.exit_code == 2
    assert 'pip install "hyseg[structure]"' in result.stderr


def test_a_map_has_the_structure_of_itself(pair):
    values = numbers(pair[1], "--reference", pair[1], "--structure", "--patch-size", 100)
    assert values["cldice"] == values["boundary_iou"] == values["boundary_f1"] == 1.0
    assert values["b0_error"] == values["b1_error"] == 0.0
    assert values["standard_errors"] == {"cldice": 0.0, "b0_error": 0.0, "b1_error": 0.0}
    assert values["pieces_per_mpx"] == values["reference_pieces_per_mpx"]


def test_betti_errors_and_pieces_counted_by_hand(named_map):
    truth = np.ones((6, 100), int)
    truth[1:4, 1:4], truth[2, 2] = 2, 1  # a ring of water round a pixel of land
    found = truth.copy()
    found[2, 3], found[5, 90] = 1, 2  # the ring is broken, and there is one piece more
    path, reference = named_map(found), named_map(truth, "truth.tif")
    values = numbers(path, "--reference", reference, "--structure", "--patch-size", 100)
    # Land: the pixel in the ring joins the rest (2 pieces become 1) and no hole but the ring's.
    land, water = values["classes"]["land"], values["classes"]["water"]
    assert (land["b0_error"], land["b1_error"]) == (1.0, 0.0)
    assert (water["b0_error"], water["b1_error"]) == (1.0, 1.0)
    assert values["b0_error"] == 1.0
    assert values["b1_error"] == 0.5
    assert water["pieces_per_mpx"] == pytest.approx(2 / 600 * 1e6)
    assert water["reference_pieces_per_mpx"] == pytest.approx(1 / 600 * 1e6)


def test_a_tolerance_in_metres_is_one_in_pixels(pair):
    path, truth = pair  # pixels of half a metre, on the ellipsoid nearly
    near, far = (
        numbers(path, "--reference", truth, "--structure", "--boundary", width)
        for width in ("2px", "1.05m")
    )
    assert near["boundary_iou"] == far["boundary_iou"]
    assert far["boundary_px"] == pytest.approx(2.1, rel=0.001)
    result = run(path, "--reference", truth, "--structure", "--boundary", "0.1m")
    assert result.exit_code == 2
    assert "pixels of 0.50 m" in result.stderr


def tiled(named_map, seam, *, tags=True):
    """A map of tiles of 64 pixels without overlap, each shifted by `seam` against the last."""
    rng = np.random.default_rng(1)
    truth = np.kron(rng.integers(1, 4, (40, 40)), np.ones((16, 16), int))
    found = truth.copy()
    for row in range(0, 640, 64):
        for col in range(0, 640, 64):
            part = truth[row : row + 64, col : col + 64]
            found[row : row + 64, col : col + 64] = np.roll(part, seam, (0, 1))
    whole = Window(0, 0, 640, 640)
    made = {"HYSEG_TILES": describe_tiles(TileGrid.cover(640, 640, tile=64, overlap=0), whole)}
    return named_map(found, tags=made if tags else {}), named_map(truth, "truth.tif")


def test_tiles_that_do_not_fit_show_as_seams(named_map):
    path, truth = tiled(named_map, 8)
    seams = numbers(path, "--reference", truth, "--patch-size", 64)["seams"]
    assert seams["ratio"] > 2
    assert seams["low"] > 1.5
    result = run(path, "--reference", truth)
    assert "times as often" in result.stdout


def test_a_map_that_does_not_tell_its_tiles_has_no_seams(named_map):
    path, truth = tiled(named_map, 8, tags=False)
    assert "seams" not in numbers(path, "--reference", truth)


@pytest.mark.parametrize("shape", [(640, 600), (640, 700), (600, 640), (700, 640)])
def test_the_tiles_of_a_map_are_not_those_of_what_was_cut_or_joined_from_it(named_map, shape):
    """GDAL's programs copy the tags of a map to what they make of it."""
    path, truth = tiled(named_map, 8)
    with rasterio.open(path) as made, rasterio.open(truth) as real:
        tags = {"HYSEG_TILES": made.tags()["HYSEG_TILES"]}
        other = named_map(np.resize(made.read(1), shape), "other.tif", tags)
        truth = named_map(np.resize(real.read(1), shape), "other_truth.tif")
    assert "seams" not in numbers(other, "--reference", truth)


OUTSIDE = describe_tiles(TileGrid.cover(64, 64, tile=64, overlap=0), Window(0, 60, 9, 9))


@pytest.mark.parametrize("tag", ['{"rows": "many"}', OUTSIDE])
def test_a_damaged_tag_of_tiles_is_told(named_map, tag):
    path = named_map(np.ones((9, 9)), tags={"HYSEG_TILES": tag})
    result = run(path, "--reference", path)
    assert result.exit_code == 1
    assert "HYSEG_TILES" in result.stderr
