"""Vector files as they are read: labels, references, areas of interest and points alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pyogrio.errors
import shapely
import shapely.errors

from hyseg_cli.errors import UnusableFileError, UsageProblemError
from hyseg_cli.geo.file_names import absolute, vector_name
from hyseg_cli.geo.suffixes import UNREAD_SUFFIXES, VECTOR_FORMATS

PARQUET = ".parquet"


def read_vector(
    path: Path, field: str | None = None, *, usual: str | None = None, flag: str = ""
) -> gpd.GeoDataFrame:
    """The features of a vector file, in its own CRS.

    Args:
        path: A file of one of the formats that hyseg writes, or of another that GDAL reads.
        field: The one column that is wanted beside the geometry; None for all.
        usual: Name of the layer that is taken if there are several with geometry.
        flag: The option that names the file, for errors.

    Raises:
        UsageProblemError: If it is missing, has no such column, or leaves open which layer is
            meant.
        UnusableFileError: If it cannot be read.
    """
    name = f"{flag} {path}".strip()
    _require_file(path, name)
    try:
        # Coordinates that are not numbers are refused below; shapely would only warn of them.
        with np.errstate(invalid="ignore"):
            if path.suffix.lower() == PARQUET:
                found = _read_parquet(path, name, field)
            else:
                found = _read_layer(path, name, field, usual)
    except _READ_ERRORS as error:
        raise _unreadable(name, error) from error
    if not isinstance(found, gpd.GeoDataFrame):
        raise UnusableFileError(
            f"{name} is a table without geometry", hint="Give a file of points or polygons."
        )
    if not np.isfinite(shapely.get_coordinates(found.geometry.to_numpy())).all():
        raise UnusableFileError(
            f"{name} has coordinates that are not numbers",
            hint="The file is damaged: fetch or write it again.",
        )
    return found


def _read_layer(path: Path, name: str, field: str | None, usual: str | None) -> Any:
    layer = _geometry_layer(path, name, usual)
    if field is not None:
        _require_layer_field(path, layer, name, field)
    columns = None if field is None else [field]
    return pyogrio.read_dataframe(vector_name(path), layer=layer, columns=columns)


def read_column(path: Path, field: str) -> Any:
    """One column of a vector file, as a series of pandas; its geometry is not read.

    Raises:
        UsageProblemError: As of `read_vector`.
        UnusableFileError: Likewise.
    """
    _require_file(path, str(path))
    try:
        if path.suffix.lower() == PARQUET:
            _require_field(_columns_of(path), str(path), field)
            table = pyarrow.parquet.read_table(absolute(path), columns=[field])
            return table.to_pandas()[field]
        layer = _geometry_layer(path, str(path), None)
        if not _require_layer_field(path, layer, str(path), field):
            return gpd.pd.Series([], dtype=object)
        table = pyogrio.read_dataframe(
            vector_name(path), layer=layer, columns=[field], read_geometry=False
        )
    except _READ_ERRORS as error:
        raise _unreadable(str(path), error) from error
    return table[field]


def _require_file(path: Path, name: str) -> None:
    if not path.exists():
        raise UsageProblemError(f"{name}: no such file", hint="Check the path for typing errors.")
    if path.suffix.lower() in UNREAD_SUFFIXES:
        raise UsageProblemError(
            f"{name}: {path.suffix} is not among the formats that are read",
            hint=f"Save it as one of them: {VECTOR_FORMATS}.",
        )


def _geometry_layer(path: Path, name: str, usual: str | None) -> str:
    """The usual layer, or the only one that has geometry; styles are layers without."""
    found = pyogrio.list_layers(vector_name(path))
    layers = [str(layer) for layer, kind in found if kind is not None]
    if usual is not None and usual in layers:
        return usual
    if not layers:
        raise UnusableFileError(
            f"{name} has no layer with geometry", hint="Give a file of points or polygons."
        )
    if len(layers) > 1:
        raise UsageProblemError(
            f"{name} has {len(layers)} layers with geometry: {', '.join(layers)}",
            hint="Save the one that is meant as a file of its own.",
        )
    return layers[0]


def _read_parquet(path: Path, name: str, field: str | None) -> gpd.GeoDataFrame:
    if field is not None:
        _require_field(_columns_of(path), name, field)
    try:
        found = gpd.read_parquet(absolute(path))
    except (KeyError, TypeError, AttributeError) as error:
        cause = ValueError(f"its description lacks {error}")
        raise _unreadable(name, cause) from error
    return found if field is None else found[[field, found.geometry.name]]


def _columns_of(path: Path) -> list[str]:
    return list(pyarrow.parquet.read_schema(absolute(path)).names)


def _require_layer_field(path: Path, layer: str, name: str, field: str) -> bool:
    """Whether a layer has a column; a GeoJSON without features has none, and needs none."""
    info = pyogrio.read_info(vector_name(path), layer=layer)
    if info["features"] == 0:
        return field in info["fields"]
    _require_field(info["fields"], name, field)
    return True


def _require_field(fields: object, name: str, field: str) -> None:
    found = sorted(str(known) for known in fields)  # type: ignore[attr-defined]
    if field not in found:
        raise UsageProblemError(
            f"{name} has no column {field!r}",
            hint=f"Its columns are {', '.join(found)}: name one with `class_field`.",
        )


_READ_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    pyogrio.errors.DataSourceError,
    pa.ArrowException,
    shapely.errors.ShapelyError,
    UnboundLocalError,  # what pyogrio makes of a .prj that is damaged
)
"""What readers raise for damaged files; pandas' and pyarrow's decoding errors are ValueErrors."""


def _unreadable(name: str, error: Exception) -> UnusableFileError:
    return UnusableFileError(
        f"{name} cannot be read as a vector file ({' '.join(str(error).split())})",
        hint=f"Read are {VECTOR_FORMATS}.",
    )
