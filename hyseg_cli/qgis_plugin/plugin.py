"""What QGIS loads: it adds the provider to Processing, with or without a window."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication

from .provider import HysegProvider


class HysegPlugin:
    """The plugin.

    Args:
        iface: QGIS's window; None in `qgis_process`.
    """

    def __init__(self, iface: Any = None) -> None:
        self._iface = iface
        self._provider: HysegProvider | None = None

    def initProcessing(self) -> None:
        """Add the provider; `qgis_process` calls this alone."""
        self._provider = HysegProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Add the provider to the toolbox of the window."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider away again."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
