"""Sample points as vector files: written without a label, read back with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyproj
import shapely

from hyseg_cli.errors import ModelMismatchError, UnusableFileError, UsageProblemError
from hyseg_cli.geo.crs import way_between
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.vector.features import BBOX
from hyseg_cli.geo.vector.formats import FORMATS, GEOMETRY
from hyseg_cli.geo.vector.layers import Layer
from hyseg_cli.geo.vector.onto_raster import points_onto
from hyseg_cli.geo.vector.vector_files import read_vector
from hyseg_cli.geo.vector.writer import LayerWriter

ID_FIELD = "sample_id"
REFERENCE_FIELD = "ref_class"
LAYER = "samples"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelledPoints:
    """Labelled points; all fields have the same length."""

    ids: npt.NDArray[np.int64] | None
    """Of the design; None if the file has no such field."""
    x: Floats
    """In the requested CRS."""
    y: Floats
    labels: tuple[str, ...]
    """The labels, without spaces around them; empty if not filled in."""


def write_points(out: Path, x: Floats, y: Floats, crs: pyproj.CRS) -> None:
    """Write points numbered from 1, with an empty field for the reference class.

    Args:
        out: The file; its suffix chooses the format, and it must not exist.
        x: (n,) in the CRS.
        y: (n,) in the CRS.
        crs: CRS of the points; formats that prescribe one are written in theirs.

    Raises:
        HysegError: If the file cannot be written.
    """
    prescribed = FORMATS[out.suffix.lower()].crs
    if prescribed is not None:
        target = pyproj.CRS.from_user_input(prescribed)
        x, y = reproject(x, y, crs, target)
        x = x - 360.0 * np.round(x / 360.0)
        crs = target
    columns = {
        GEOMETRY: pa.array(shapely.to_wkb(shapely.points(x, y)).tolist(), pa.binary()),
        ID_FIELD: pa.array(np.arange(1, len(x) + 1, dtype=np.int32)),
        REFERENCE_FIELD: pa.nulls(len(x), pa.string()),
    }
    if out.suffix.lower() == ".parquet":
        columns["bbox"] = pa.StructArray.from_arrays([x, y, x, y], fields=list(BBOX))
    record = pa.record_batch(columns)
    layer = Layer(
        file=str(out),
        name=LAYER,
        geometry_type="Point",
        wkt=crs.to_wkt(),
        projjson=crs.to_json(),
    )
    with LayerWriter() as writer:
        writer.write(iter([record]), record.schema, layer)


def read_points(path: Path, field: str, scene: Raster) -> LabelledPoints:
    """Read points with the labels in one of their fields.

    Args:
        path: Any vector file of points.
        field: The field of the reference class.
        scene: The map; positions are wanted in its CRS, on its turn.

    Raises:
        UsageProblemError: If the file or the field does not exist.
        UnusableFileError: If the file cannot be read.
        ModelMismatchError: If it holds no points, or does not say where they are.
    """
    frame = read_vector(path, usual=LAYER)
    if field not in frame.columns:
        fields = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
        raise UsageProblemError(
            f"{path} has no field {field}", hint=f"Give `field` one of: {fields or 'none'}."
        )
    if len(frame) == 0 or not (frame.geom_type == "Point").all():
        raise ModelMismatchError(
            f"{path} holds no points, or other geometries besides points",
            hint="Give the file that `hyseg sample` wrote, with its labels filled in.",
        )
    if frame.crs is None:
        raise ModelMismatchError(
            f"{path} does not say in which CRS its points are",
            hint="A Shapefile needs its .prj beside it; assign the CRS in your GIS.",
        )
    x, y = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    with _in_a_crs_that_fits():
        x, y = points_onto(x, y, frame.crs, scene)
    ids = None
    if ID_FIELD in frame.columns and frame[ID_FIELD].notna().all():
        ids = _whole_numbers(frame[ID_FIELD].to_numpy(), path)
    labels = tuple(
        "" if value is None or value != value else _text(value)  # noqa: PLR0124 - NaN
        for value in frame[field].to_numpy(dtype=object, na_value=None).tolist()
    )
    return LabelledPoints(ids, x, y, labels)


def reproject(
    x: Floats, y: Floats, source: pyproj.CRS, target: pyproj.CRS
) -> tuple[Floats, Floats]:
    """Positions in another CRS, infinite outside its reach; unchanged in the same CRS.

    Raises:
        ModelMismatchError: If nothing leads from one CRS to the other.
    """
    if source == target:
        return x, y
    with _in_a_crs_that_fits():
        new_x, new_y = way_between(source, target, "the points").transform(x, y)
    return new_x, new_y


@contextmanager
def _in_a_crs_that_fits() -> Iterator[None]:
    """Points that cannot be brought to the map do not fit it; the file may be sound."""
    try:
        yield
    except UnusableFileError as error:
        raise ModelMismatchError(
            f"the points do not fit the map: {error.message}",
            hint="Write the points as .gpkg, which keeps the CRS of the map.",
        ) from error


def _whole_numbers(values: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int64]:
    try:
        return values.astype(np.float64).astype(np.int64)
    except ValueError as error:
        raise ModelMismatchError(
            f"{path}: its field {ID_FIELD} does not hold numbers ({error})",
            hint="Keep the numbers that `hyseg sample` wrote.",
        ) from error


def _text(value: object) -> str:
    """A label as text; 3.0, as spreadsheets and Shapefiles store 3, is 3."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
