from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import make_card, tiny_config
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.learn.model.contract import alignment_for, match

R, G, B, GRAY, ALPHA, NONE = (
    ColorInterp.red,
    ColorInterp.green,
    ColorInterp.blue,
    ColorInterp.gray,
    ColorInterp.alpha,
    ColorInterp.undefined,
)


@pytest.fixture
def scene(write_raster):
    def make(colors, dtype=np.uint8, descriptions=None, **options):
        path = write_raster(np.zeros((len(colors), 4, 4), dtype), **options)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = colors
            if descriptions:
                file.descriptions = descriptions
        return open_raster(path)

    return make


@pytest.fixture
def four_bands(legend):
    """A model of red, green, blue and, where there is one, near infrared."""
    return make_card(
        legend,
        config=replace(tiny_config(), bands=4),
        bands=("red", "green", "blue", "nir"),
        optional_bands=("nir",),
        mean=(120.0,) * 4,
        std=(50.0,) * 4,
    )


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        ([R, G, B], (1, 2, 3)),
        ([B, G, R], (3, 2, 1)),
        ([R, G, B, ALPHA], (1, 2, 3)),
        ([NONE, R, G, B], (2, 3, 4)),
        ([GRAY, NONE, NONE], (1, 2, 3)),
        ([GRAY, NONE, NONE, ALPHA], (1, 2, 3)),
    ],
)
def test_bands_are_found_by_color_or_count(scene, legend, colors, expected):
    assert match(scene(colors), make_card(legend)).bands == expected


def test_bands_are_found_by_description(scene, legend):
    found = match(
        scene([GRAY, NONE, NONE, NONE], descriptions=("NIR", "Blue", "Green", "Red")),
        make_card(legend),
    )
    assert found.bands == (4, 3, 2)


def test_bands_asked_for_are_taken(scene, legend):
    assert match(scene([GRAY] + [NONE] * 3), make_card(legend), (4, 1, 2)).bands == (4, 1, 2)


@pytest.mark.parametrize("colors", [[GRAY], [GRAY, NONE], [GRAY, NONE, NONE, NONE]])
def test_a_wrong_band_count_is_one_line_with_its_cure(scene, legend, colors):
    with pytest.raises(ModelMismatchError, match=r"has (1 band|\d bands) \(") as caught:
        match(scene(colors), make_card(legend))
    assert ("`bands` 1,2,3" in caught.value.hint) == (len(colors) > 3)


def test_a_band_that_does_not_exist_is_refused(scene, legend):
    with pytest.raises(UsageProblemError, match="`bands` 4"):
        match(scene([R, G, B]), make_card(legend), (1, 2, 4))


def test_too_few_bands_asked_for_are_refused(scene, legend):
    with pytest.raises(ModelMismatchError, match="names 2 bands"):
        match(scene([R, G, B]), make_card(legend), (1, 2))


def test_another_data_type_is_refused(scene, legend):
    with pytest.raises(ModelMismatchError, match="uint16"):
        match(scene([R, G, B], np.uint16), make_card(legend))


@pytest.mark.parametrize(
    ("metres", "alignment"),
    # The model saw 0.25 to 1 m; ten percent off is still its own.
    [(0.5, 32), (1.05, 32), (0.24, 32), (0.125, 64), (0.1, 80), (2.0, 16), (8.0, 4), (0.032, 250)],
)
def test_a_resolution_off_the_training_is_resampled_to_its_nearest(
    scene, legend, metres, alignment
):
    found = match(scene([R, G, B], transform=grid_of(metres)), make_card(legend))
    assert found.alignment == alignment
    assert bool(found.warnings) == (alignment != 32)


@pytest.mark.parametrize(
    ("metres", "shown"),
    # The model saw 0.25 to 1 m and maps 0.4 m best; 2.5 times is the most, until 1 m is reached.
    [(0.25, 0.25), (0.4, 0.4), (0.43, 0.43), (0.8, 0.4), (1.6, 0.64), (2.4, 0.96), (6.4, 1.0)],
)
def test_coarse_scenes_are_enlarged_to_what_the_model_maps_best(scene, legend, metres, shown):
    card = make_card(legend, best_resolution_m=0.4)
    image = scene([R, G, B], transform=grid_of(metres))
    found = match(image, card)
    assert metres * found.alignment / 32 == pytest.approx(shown, rel=0.02)
    assert bool(found.warnings) == (metres > 1.0)
    assert match(image, card, gsd_m="native").alignment == 32
    assert alignment_for("image", metres, card) == found.alignment


def test_an_image_of_unknown_pixels_is_seen_as_it_is_or_refused(legend):
    card = make_card(legend, best_resolution_m=0.4)
    assert alignment_for("image", None, card) == 32
    assert alignment_for("image", 0.8, card, 0.2) == 8
    with pytest.raises(ModelMismatchError, match="how large its pixels are"):
        alignment_for("image", None, card, 0.4)


def grid_of(metres):
    return from_origin(500_000, 5_400_000, metres, metres)


def test_native_maps_any_resolution_with_a_warning(scene, legend):
    found = match(scene([R, G, B], transform=grid_of(10)), make_card(legend), gsd_m="native")
    assert found.alignment == 32
    assert "expect a worse map" in found.warnings[0]


def test_metres_asked_for_are_what_the_network_sees(scene, legend):
    found = match(scene([R, G, B], transform=grid_of(0.1)), make_card(legend), gsd_m=0.3)
    assert (found.alignment, found.warnings) == (96, ())


@pytest.mark.parametrize(("metres", "words"), [(10.0, "as coarse"), (0.02, "as fine")])
def test_a_resolution_far_beyond_is_refused(scene, legend, metres, words):
    with pytest.raises(ModelMismatchError, match=words) as caught:
        match(scene([R, G, B], transform=grid_of(metres)), make_card(legend))
    assert "`gsd` native" in caught.value.hint


def test_a_model_without_resolution_maps_as_it_is_with_a_warning(scene, legend):
    card = make_card(legend, resolution_m=None)
    found = match(scene([R, G, B], transform=grid_of(30)), card)
    assert found.alignment == 32
    assert "does not say which resolution" in found.warnings[0]


def test_metres_need_a_place(scene, legend):
    placeless = scene([R, G, B], crs=None, transform=Affine.scale(2))
    with pytest.raises(ModelMismatchError, match="is not georeferenced"):
        match(placeless, make_card(legend), gsd_m=0.5)
    assert match(placeless, make_card(legend), gsd_m="native").alignment == 32


def test_a_missing_place_is_one_warning(scene, legend):
    found = match(scene([R, G, B], crs=None, transform=Affine.scale(2)), make_card(legend))
    assert len(found.warnings) == 1
    assert "not georeferenced" in found.warnings[0]


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        ([R, G, B, NONE], (1, 2, 3, 4)),
        ([R, G, B], (1, 2, 3)),
        ([B, G, R], (3, 2, 1)),
        ([GRAY, NONE, NONE], (1, 2, 3)),
        ([R, G, B, ALPHA], (1, 2, 3)),
        ([GRAY, NONE, NONE, NONE], (1, 2, 3, 4)),
    ],
)
def test_a_scene_may_lack_the_optional_bands(scene, four_bands, colors, expected):
    assert match(scene(colors), four_bands).bands == expected


def test_optional_bands_are_found_by_description(scene, four_bands):
    found = match(
        scene([GRAY] + [NONE] * 4, descriptions=("nir", "blue", "x", "green", "red")), four_bands
    )
    assert found.bands == (5, 4, 2, 1)


def test_a_required_band_may_not_lack(scene, four_bands):
    with pytest.raises(ModelMismatchError, match=r"or 3 without nir"):
        match(scene([GRAY, NONE]), four_bands)
    with pytest.raises(ModelMismatchError, match=r"or 3 without nir"):
        match(scene([R, G, B]), four_bands, (1, 2))
    assert match(scene([R, G, B]), four_bands, (3, 2, 1)).bands == (3, 2, 1)
