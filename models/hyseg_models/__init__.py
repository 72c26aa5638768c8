"""The networks of HySeg: MeanStruct, P2A, DAS and the hosts they improve."""

from hyseg_models.backbones import WeightsUnavailableError
from hyseg_models.config import IGNORE_ID, HySegConfig
from hyseg_models.hyseg import HySeg, HySegOutput, build
from hyseg_models.losses import segmentation_loss
from hyseg_models.presets import PRESET_NAMES, preset
from hyseg_models.records import ConfigError

__all__ = [
    "IGNORE_ID",
    "PRESET_NAMES",
    "ConfigError",
    "HySeg",
    "HySegConfig",
    "HySegOutput",
    "WeightsUnavailableError",
    "build",
    "preset",
    "segmentation_loss",
]
