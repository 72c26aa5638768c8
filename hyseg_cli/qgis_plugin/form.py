"""What was filled into the form of an algorithm, as the words that hyseg is called with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from qgis.core import (
    QgsFeatureSource,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingUtils,
    QgsRasterLayer,
)

from .layers import raster_path, write_features


class Form:
    """The values of one run.

    QGIS names a temporary file anew each time it is asked for an output, and would load each of
    them: here an output is asked for once.

    Args:
        algorithm: Whose form it is; a value is called in errors what the form calls it.
        parameters: The values, as QGIS passes them.
        context: QGIS's context of the run.
    """

    def __init__(
        self, algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], context: Any
    ) -> None:
        self.context = context
        self._algorithm = algorithm
        self._parameters = parameters
        self._outputs: dict[str, str] = {}

    def has(self, name: str) -> bool:
        """Whether an optional value was given."""
        return self._parameters.get(name) not in (None, "")

    def text(self, name: str) -> str:
        """A text; empty if none was given."""
        return str(self._algorithm.parameterAsString(*self._asked(name)) or "")

    def whole(self, name: str) -> int:
        """A whole number."""
        return int(self._algorithm.parameterAsInt(*self._asked(name)))

    def number(self, name: str) -> float:
        """A number."""
        return float(self._algorithm.parameterAsDouble(*self._asked(name)))

    def is_ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return bool(self._algorithm.parameterAsBool(*self._asked(name)))

    def choice(self, name: str) -> int:
        """The position of what was chosen, from 0."""
        return int(self._algorithm.parameterAsEnum(*self._asked(name)))

    def model(self) -> list[str]:
        """The chosen model, a name or a path; nothing if both are empty."""
        path = self._algorithm.parameterAsFile(*self._asked("MODEL_FILE"))
        chosen = str(path or self.text("MODEL"))
        return [chosen] if chosen else []

    # ---- layers --------------------------------------------------------------------------------

    def layer(self, name: str) -> QgsRasterLayer:
        """A raster layer.

        Raises:
            QgsProcessingException: If it cannot be opened.
        """
        layer = self._algorithm.parameterAsRasterLayer(*self._asked(name))
        if layer is None:
            raise QgsProcessingException(f"{self._title(name)}: this raster cannot be opened.")
        return layer

    def raster(self, name: str) -> str:
        """What GDAL opens a raster layer by.

        Raises:
            QgsProcessingException: If it is not a raster of GDAL's.
        """
        return raster_path(self.layer(name), self._title(name))

    def features(self, name: str) -> QgsFeatureSource:
        """Features of a vector layer, the selected ones if QGIS is to use those.

        Raises:
            QgsProcessingException: If the layer cannot be opened.
        """
        source = self._algorithm.parameterAsSource(*self._asked(name))
        if source is None:
            raise QgsProcessingException(f"{self._title(name)}: this layer cannot be opened.")
        return source

    def vector(self, name: str, path: Path | None = None, *, only: str | None = None) -> str:
        """A GeoPackage with the features of a vector layer, which need not be saved.

        Args:
            name: The value.
            path: The file to write; None for a temporary one.
            only: The one field to keep; None for all.

        Raises:
            QgsProcessingException: If there are no features, or they cannot be written.
        """
        file = path or Path(QgsProcessingUtils.generateTempFilename(f"{name.lower()}.gpkg"))
        if write_features(self.features(name), file, self.context, only) == 0:
            file.unlink()
            raise QgsProcessingException(
                f"{self._title(name)}: there is nothing in this layer; draw some, or select some."
            )
        return str(file)

    def vector_layer(self, name: str) -> Any:
        """The vector layer itself; None if it is none, such as the output of a step before."""
        return self._algorithm.parameterAsVectorLayer(*self._asked(name))

    def box(self, name: str, raster: str) -> Sequence[float]:
        """An extent in the CRS of a raster: left, bottom, right, top."""
        crs = self.layer(raster).crs()
        box = self._algorithm.parameterAsExtent(*self._asked(name), crs)
        return box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()

    # ---- outputs -------------------------------------------------------------------------------

    def out(self, name: str = "OUTPUT") -> str:
        """The file of a layer to make."""
        if name not in self._outputs:
            self._outputs[name] = str(self._algorithm.parameterAsOutputLayer(*self._asked(name)))
        return self._outputs[name]

    def file(self, name: str = "OUTPUT") -> str:
        """A file to make that is not a layer."""
        if name not in self._outputs:
            self._outputs[name] = str(self._algorithm.parameterAsFileOutput(*self._asked(name)))
        return self._outputs[name]

    def _asked(self, name: str) -> tuple[dict[str, Any], str, Any]:
        return self._parameters, name, self.context

    def _title(self, name: str) -> str:
        return str(self._algorithm.parameterDefinition(name).description())
