"""Frozen settings of each workflow: defaults, ranges and cross-checks; messages name the flag.

Options of the command line take their defaults from here, so there is one place for each. Those of
a workflow load when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from hyseg_cli.settings.calibrate import CalibrateSettings
    from hyseg_cli.settings.evaluate import EvaluateSettings
    from hyseg_cli.settings.info import InfoSettings
    from hyseg_cli.settings.predict import PredictSettings
    from hyseg_cli.settings.sample import SampleEvaluationSettings, SampleSettings
    from hyseg_cli.settings.train import TrainSettings
    from hyseg_cli.settings.vectorize import VectorizeSettings
else:
    # Not for type checkers, to which every name would be one of this module.
    _HOMES = {
        "CalibrateSettings": "calibrate",
        "EvaluateSettings": "evaluate",
        "InfoSettings": "info",
        "PredictSettings": "predict",
        "SampleEvaluationSettings": "sample",
        "SampleSettings": "sample",
        "TrainSettings": "train",
        "VectorizeSettings": "vectorize",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        home = import_module(f"{__name__}.{_HOMES[name]}")
        found = globals()[name] = getattr(home, name)
        return found
