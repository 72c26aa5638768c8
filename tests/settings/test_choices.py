"""What the settings allow is what the library can do, no more and no less."""

from pathlib import Path
from typing import get_args

import pytest

from hyseg_cli.geo.output.mosaic import Resample
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES as READ
from hyseg_cli.geo.vector.formats import FORMATS
from hyseg_cli.learn.data.benchmarks import BENCHMARKS
from hyseg_cli.learn.data.statistics import Weighting
from hyseg_cli.learn.inference import precision
from hyseg_cli.learn.inference.augmentation import VIEWS
from hyseg_cli.learn.training import loggers
from hyseg_cli.sampling import allocation
from hyseg_cli.settings import choices

PLUGIN = Path(choices.__file__).parents[1] / "qgis_plugin"


@pytest.mark.parametrize(
    ("allowed", "known"),
    [
        (choices.VECTOR_SUFFIXES, FORMATS),
        (get_args(choices.TestTimeAugmentation), VIEWS),
        (get_args(choices.Benchmark), BENCHMARKS),
        (get_args(choices.Resampling), get_args(Resample)),
        (get_args(choices.Allocation), get_args(allocation.Allocation)),
        (get_args(choices.ClassWeights), get_args(Weighting)),
        (get_args(choices.Precision), get_args(precision.Choice)),
        (get_args(choices.LoggerName), get_args(loggers.LoggerName)),
    ],
    ids=["formats", "views", "benchmarks", "mosaics", "samples", "weights", "precision", "loggers"],
)
def test_what_is_allowed_is_what_is_known(allowed, known):
    assert set(allowed) == set(known)


def test_what_is_written_can_be_read():
    assert set(choices.VECTOR_SUFFIXES) <= READ


def test_the_hint_names_every_suffix():
    assert all(f"{suffix}" in choices.VECTOR_HINT for suffix in choices.VECTOR_SUFFIXES)


def test_the_plugin_offers_every_augmentation():
    offered = ", ".join(f'"{name}"' for name in get_args(choices.TestTimeAugmentation))
    assert f"({offered})" in (PLUGIN / "mapping.py").read_text(encoding="utf-8")
