"""The QGIS plugin: hyseg in the Processing toolbox.

`hyseg qgis install` copies this folder into a profile of QGIS, where it runs in QGIS's own Python
(3.8 or newer). So it imports nothing of hyseg, which runs as a program of its own and whose JSON
log is all that the two say to each other. Nothing of QGIS is imported before QGIS asks for it:
`program` and `running` are tested without QGIS.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any = None) -> Any:
    """What QGIS loads; `qgis_process`, which has no window, passes no interface."""
    from .plugin import HysegPlugin

    return HysegPlugin(iface)
