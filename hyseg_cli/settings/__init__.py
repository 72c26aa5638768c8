"""Frozen settings of each workflow: defaults, ranges and cross-checks; messages name the flag.

Options of the command line take their defaults from here, so there is one place for each.
"""

from hyseg_cli.settings.calibrate import CalibrateSettings
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.settings.info import InfoSettings
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.settings.sample import SampleEvaluationSettings, SampleSettings
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.settings.vectorize import VectorizeSettings

__all__ = [
    "CalibrateSettings",
    "EvaluateSettings",
    "InfoSettings",
    "PredictSettings",
    "SampleEvaluationSettings",
    "SampleSettings",
    "TrainSettings",
    "VectorizeSettings",
]
