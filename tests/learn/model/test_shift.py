"""How far a scene is from the training pixels, on values whose quantiles are known."""

import numpy as np
import pytest
from conftest import make_card

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.learn.model.card import LEVELS, ModelCard, quantiles
from hyseg_cli.learn.model.shift import PLACES, SIDE, compare, measure_shift, sample_pixels


def test_quantiles_of_even_values_are_their_shares():
    even = np.arange(1001)
    found = quantiles(np.stack([even, 2 * even]))
    np.testing.assert_allclose(found, np.outer([1000, 2000], LEVELS))


def test_a_shift_of_all_values_is_its_size_in_standard_deviations(legend):
    base = tuple(tuple(100.0 + 10 * i for i in range(7)) for _ in range(3))
    card = make_card(legend, quantiles=base, std=(50.0, 25.0, 40.0))
    same = compare(base, card, "x.tif")
    assert (same.distance, same.warning) == (0.0, None)
    moved = tuple(tuple(value + 20 for value in band) for band in base)
    shift = compare(moved, card, "x.tif")
    assert shift.distance == pytest.approx(20 / 25)
    assert "band green has a median of 150 instead of 130" in shift.warning
    assert "hyseg train --from" in shift.warning


def test_a_scene_is_near_to_itself_and_far_from_its_negative(write_raster, legend):
    image = np.random.default_rng(0).integers(10, 90, (3, 700, 900), dtype=np.uint8)
    card = make_card(
        legend,
        quantiles=quantiles(image.reshape(3, -1)),
        std=tuple(image.reshape(3, -1).std(axis=1).tolist()),
    )
    for array, is_far in ((image, False), (255 - image, True)):
        with SceneReader(open_raster(write_raster(array)), (1, 2, 3)) as reader:
            shift = measure_shift(reader, card)
        assert (shift.distance > 1) == is_far
        assert (shift.warning is not None) == is_far


def test_a_card_without_quantiles_and_a_scene_without_data_give_no_distance(write_raster, legend):
    empty = write_raster(np.zeros((3, 90, 90), np.uint8), nodata=0)
    with SceneReader(open_raster(empty), (1, 2, 3)) as reader:
        assert measure_shift(reader, make_card(legend)) is None
        assert measure_shift(reader, make_card(legend, quantiles=((1.0,) * 7,) * 3)) is None


@pytest.mark.parametrize("size", [(1, 1), (63, 5000), (64, 64), (3000, 130)])
def test_the_sample_is_small_inside_and_spread(write_raster, size):
    image = np.ones((1, *size), np.uint8)
    with SceneReader(open_raster(write_raster(image)), (1,)) as reader:
        windows = []
        read = reader.read
        reader.read = lambda window: windows.append(window) or read(window)
        pixels = sample_pixels(reader)
    assert pixels.shape[1] == sum(w.height * w.width for w in windows)
    assert len(windows) == len(set(windows)) <= PLACES**2
    for w in windows:
        assert 0 <= w.row <= w.row_stop <= size[0]
        assert 0 <= w.col <= w.col_stop <= size[1]
    covered = max(w.col_stop for w in windows) - min(w.col for w in windows)
    assert covered >= min(size[1], SIDE) or covered >= size[1] / 2


def test_a_card_keeps_its_quantiles_and_may_lack_them(legend):
    card = make_card(legend, quantiles=((1.0, 2.0),) * 3)
    assert ModelCard.from_json(card.to_json()) == card
    assert make_card(legend).quantiles == ()
