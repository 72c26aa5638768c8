"""How layers that were made look in QGIS: their names, their colours, and forms to fill in."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from qgis.core import (
    QgsEditorWidgetSetup,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingLayerPostProcessorInterface,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtGui import QDesktopServices

_kept: list[_Dresser] = []
"""QGIS calls them after the algorithm is gone; Python would have removed them."""
_MOST_KEPT = 64


class _Dresser(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style that hyseg wrote with it, and more."""

    def __init__(self, then: Callable[[QgsMapLayer], None] | None) -> None:
        super().__init__()
        self._then = then

    def postProcessLayer(self, layer: QgsMapLayer, context: Any, feedback: Any) -> None:  # noqa: ARG002
        # Processing loads layers without the styles that lie with them.
        layer.loadDefaultStyle()
        if self._then is not None:
            self._then(layer)
        layer.triggerRepaint()


def dress(
    context: QgsProcessingContext,
    path: str,
    name: str,
    then: Callable[[QgsMapLayer], None] | None = None,
) -> None:
    """Let a layer that was made be loaded under a name and with its style, if it is to be loaded.

    Args:
        context: The context of the algorithm.
        path: The file, as the output parameter has it.
        name: The name.
        then: What else to do with the layer, in the main thread.
    """
    if not context.willLoadLayerOnCompletion(path):
        return
    details = context.layerToLoadOnCompletionDetails(path)
    details.name = name
    dresser = _Dresser(then)
    del _kept[:-_MOST_KEPT]
    _kept.append(dresser)
    details.setPostProcessor(dresser)


def choose_from(field: str, labels: Mapping[str, str]) -> Callable[[QgsMapLayer], None]:
    """What makes a field of a layer a list to choose from.

    Args:
        field: The field.
        labels: What is shown, with the value that it stands for.
    """

    def set_up(layer: QgsMapLayer) -> None:
        if isinstance(layer, QgsVectorLayer) and layer.fields().indexFromName(field) >= 0:
            entries = [{label: value} for label, value in labels.items()]
            setup = QgsEditorWidgetSetup("ValueMap", {"map": entries})
            layer.setEditorWidgetSetup(layer.fields().indexFromName(field), setup)

    return set_up


def open_page(path: str) -> None:
    """Show a page in the browser, if QGIS has a window; to be called in the main thread."""
    from qgis.utils import iface

    if iface is not None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(path))
