"""Labels drawn on crops of California lie on their images and agree with what is known of them."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from hyseg_cli.legend import read_legend

SOURCES = Path(__file__).parents[3] / "examples" / "sources"
FILES = sorted((SOURCES / "california_drawn").glob("*.tif"))
LEGEND = read_legend(SOURCES / "california_drawn.legend.json")
HELD_OUT = ("long_beach", "palm_springs")


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), (file.shape, file.transform, file.crs)


@pytest.fixture(scope="module")
def labels():
    return {file.name: read(file)[0] for file in FILES}


def test_labels_are_ids_of_the_legend(labels):
    values = set(np.unique(np.stack(list(labels.values()))).tolist())
    assert values == set(LEGEND.ids)


def test_every_class_but_the_rare_ones_is_drawn_in_held_out_cities_too(labels):
    held_out = [values for name, values in labels.items() if name.startswith(HELD_OUT)]
    assert 4 <= len(held_out) <= len(labels) // 5
    drawn = {LEGEND.names[LEGEND.ids.index(one)] for one in np.unique(np.stack(held_out))}
    assert drawn >= {"building", "road", "bare ground", "low vegetation", "trees", "water"}


def test_labels_lie_on_their_images(shared):
    for file in FILES:
        assert read(file)[1] == read(shared / "california_naip_trees/images" / file.name)[1]


def test_roofs_are_not_green_and_trees_are(shared, labels):
    """Against masks that others made of the infrared band and of tree points."""
    drawn = np.stack(list(labels.values()))
    folder = shared / "california_naip_trees/masks_derived"
    known = np.stack([read(folder / name)[0] for name in labels])

    def green(name):
        here = known[(drawn == LEGEND.ids[LEGEND.names.index(name)]) & (known > 0)]
        return (here > 1).mean()

    assert green("building") < 0.03
    assert green("road") < 0.03
    assert green("low vegetation") > 0.97
    assert green("trees") > 0.93
