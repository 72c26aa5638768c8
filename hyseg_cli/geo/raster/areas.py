"""What is told of areas that are not those on the ground."""

from __future__ import annotations

from pathlib import Path

from hyseg_cli.geo.raster.ground import area_distortion
from hyseg_cli.geo.raster.raster import Scene

MOST_DISTORTION = 0.02


def distorted_areas(scene: Scene, concerned: str = "hectares") -> str | None:
    """A warning if the areas of a raster's CRS are others than on the ground, else None.

    Args:
        scene: The raster.
        concerned: What is counted in these areas.
    """
    factor = area_distortion(scene)
    if abs(factor - 1.0) <= MOST_DISTORTION:
        return None
    return (
        f"the CRS of {Path(scene.path).name} shows areas {factor:.2f} times as large as they "
        f"are in the middle of the map: {concerned} are those of the CRS; "
        "an equal-area CRS gives true ones"
    )
