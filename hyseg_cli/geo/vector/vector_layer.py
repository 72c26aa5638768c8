"""Which layer of a vector file is meant."""

from __future__ import annotations

from pathlib import Path

import pyogrio

from hyseg_cli.errors import UsageProblemError


def geometry_layer(path: Path, usual: str | None = None) -> str:
    """The layer of that name, or the only one that has geometry; styles are layers without.

    Args:
        path: A vector file.
        usual: Name of the layer that is taken if there are several.

    Raises:
        UsageProblemError: If several or none have geometry.
        pyogrio.errors.DataSourceError: If the file cannot be read.
    """
    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if usual is not None and usual in layers:
        return usual
    if not layers:
        raise UsageProblemError(
            f"{path} has no layer with geometry", hint="Give a file of points or polygons."
        )
    if len(layers) > 1:
        raise UsageProblemError(
            f"{path} has {len(layers)} layers with geometry: {', '.join(layers)}",
            hint="Save the one that is meant as a file of its own.",
        )
    return layers[0]
