"""The networks of HySeg: MeanStruct, P2A, DAS and the hosts they improve.

Configurations are plain Python. The networks load when they are first asked for: PyTorch and timm
take seconds, which reading a configuration does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from hyseg_models.config.config import IGNORE_ID, HySegConfig
from hyseg_models.config.presets import PRESET_NAMES, preset
from hyseg_models.config.records import ConfigError

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

if TYPE_CHECKING:
    from hyseg_models.blocks.backbones import WeightsUnavailableError
    from hyseg_models.hyseg import HySeg, HySegOutput, build
    from hyseg_models.losses import segmentation_loss
else:
    # Not for type checkers, to which every name would be one of this module.
    _HOMES = {
        "HySeg": "hyseg_models.hyseg",
        "HySegOutput": "hyseg_models.hyseg",
        "WeightsUnavailableError": "hyseg_models.blocks.backbones",
        "build": "hyseg_models.hyseg",
        "segmentation_loss": "hyseg_models.losses",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        found = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})
