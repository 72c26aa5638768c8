"""The provider `hyseg` of Processing, and its setting."""

from __future__ import annotations

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import PROGRAM_SETTING
from .checking import AccuracyFromPoints, CompareWithReference, Facts, SampleForAccuracy
from .mapping import Changes, MapScene, MapToPolygons
from .training import SuggestWhereToDraw, TrainOnPolygons

ICON = Path(__file__).with_name("icon.svg")
ALGORITHMS = (
    TrainOnPolygons,
    SuggestWhereToDraw,
    MapScene,
    MapToPolygons,
    Changes,
    CompareWithReference,
    SampleForAccuracy,
    AccuracyFromPoints,
    Facts,
)


class HysegProvider(QgsProcessingProvider):
    """All algorithms of hyseg."""

    def id(self) -> str:
        return "hyseg"

    def name(self) -> str:
        return "hyseg"

    def longName(self) -> str:
        return "hyseg: land-cover maps and clean polygons"

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def svgIconPath(self) -> str:
        return str(ICON)

    def load(self) -> bool:
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(self.name(), PROGRAM_SETTING, "Path of hyseg (empty: found by itself)", "")
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        ProcessingConfig.removeSetting(PROGRAM_SETTING)

    def loadAlgorithms(self) -> None:
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def supportsNonFileBasedOutput(self) -> bool:
        return False

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        return ["gpkg", "fgb", "geojson", "shp"]

    def defaultRasterFileExtension(self) -> str:
        return "tif"

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:  # noqa: ARG002, FBT002
        return "gpkg"
