"""`hyseg suggest`: where in a scene to draw next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
import torch

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.classes.styles import ClassStyle
from hyseg_cli.geo.classes.symbology import add_outline_style
from hyseg_cli.geo.crs import crs_text
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import Pixels, SceneReader
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.vector.formats import GEOMETRY, files_of_layer, move_into_place
from hyseg_cli.geo.vector.geopackage import copy_other_layers
from hyseg_cli.geo.vector.layers import Layer
from hyseg_cli.geo.vector.writer import LayerWriter
from hyseg_cli.learn.data.label_sources import class_texts, read_features
from hyseg_cli.learn.few.features import own_pixels, tile_of, tiles_of, window_of
from hyseg_cli.learn.few.places import (
    KEPT,
    SIDE,
    Candidates,
    candidates_of,
    covered,
    join,
    suggest,
)
from hyseg_cli.learn.few.polygons import areas_of
from hyseg_cli.learn.inference.kept_tokens import MAP_BYTES, keep_tokens
from hyseg_cli.learn.inference.precision import choose_precision
from hyseg_cli.learn.inference.predictor import choose_device
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.contract import match
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.messages import Messages
from hyseg_cli.settings.suggest import SuggestSettings
from hyseg_cli.workflows.outputs import refuse_inputs, require_free

LAYER = "polygons"
TRIES = 20
"""Tiles that are read, for each that is looked at, to find some that hold data."""


@dataclass(frozen=True)
class SuggestResult:
    """Places that were suggested."""

    out: Path
    reasons: tuple[str, ...]
    """Why, the most useful first."""

    def to_text(self) -> str:
        """A line for each place, and the file."""
        lines = [f"{rank:>3}  {reason}" for rank, reason in enumerate(self.reasons, 1)]
        return "\n".join([*lines, str(self.out)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"out": str(self.out), "reasons": list(self.reasons)}


def run(settings: SuggestSettings, messages: Messages) -> SuggestResult:
    """Look at a scene, or at blocks of it, and write the places to draw at.

    Raises:
        HysegError: One of its kinds, if the scene, the model or the polygons cannot be used.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    inputs = [str(path) for path in (settings.scene, settings.labels) if path is not None]
    refuse_inputs({"`out`": settings.out}, inputs)
    scene = open_raster(settings.scene)
    if not scene.is_georeferenced:
        raise UsageProblemError(
            f"{settings.scene} is not georeferenced, so polygons cannot be laid over it",
            hint="Georeference the scene first.",
        )
    drawn = None
    if settings.labels is not None:
        drawn = read_features(settings.labels, scene, settings.class_field)
    model = load_model(find_model(settings.model))
    found = _look(scene, model, drawn, settings, messages)
    places = suggest(found, _covered(found, drawn, scene), settings.count, seed=settings.seed)
    names = model.card.legend.names
    rows = [
        _row(found, place.candidate, place.common, names, scene, settings.class_field)
        for place in places
    ]
    _write(settings, scene, model, rows, drawn)
    return SuggestResult(settings.out, tuple(row["reason"] for row in rows))


def _look(
    scene: Raster,
    model: Model,
    drawn: gpd.GeoDataFrame | None,
    settings: SuggestSettings,
    messages: Messages,
) -> Candidates:
    """Squares of all blocks of a small scene, of some blocks of a large one."""
    contract = match(scene, model.card, settings.bands)
    for text in contract.warnings:
        messages.warn(text)
    device = choose_device(settings.device)
    network = model.network.to(device)
    keep_tokens(network, device, MAP_BYTES)
    look = _Look(model, device)
    _require_room(scene)
    parts: list[Candidates] = []
    with SceneReader(scene, contract.bands) as reader:
        grid = tiles_of(reader)
        places = _places(scene, grid, drawn, settings)
        count = min(len(places), settings.blocks)
        for place in places:
            if len(parts) == count:
                break
            window = window_of(grid, place)
            pixels = reader.read(window)
            if not pixels.valid.any():
                continue
            messages.advance("looking", len(parts), count)
            parts.append(look(pixels, own_pixels(grid, place), window.row, window.col))
    messages.advance("looking", count, count)
    found = join(parts) if parts else None
    if found is None or len(found) == 0:
        raise HysegError(f"{scene.path} holds no data", hint="Check its nodata value.")
    rng = np.random.default_rng(settings.seed)
    return found.part(np.sort(rng.permutation(len(found))[:KEPT]))


class _Look:
    """What a model makes of a tile, in the format that maps are made in."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._network = model.network
        self._temperature = model.card.temperature
        self._standardise = Standardise(model.card.radiometry).to(device)
        self._device = device
        self._is_half = choose_precision("auto", device.type) == "bfloat16"

    @torch.inference_mode()
    def __call__(
        self, pixels: Pixels, own: npt.NDArray[np.bool_], row: int, col: int
    ) -> Candidates:
        """The squares of a tile that lie in its own pixels (H, W) and hold data."""
        valid = torch.from_numpy(pixels.valid)[None, None].to(self._device)
        image = torch.from_numpy(pixels.image.astype(np.float32))[None].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_half):
            standard = self._standardise(image, valid)
            features = self._network.backbone(standard)
            logits = self._network(standard, valid, features=features).logits
        return candidates_of(
            logits[0].float().cpu() / self._temperature,
            [level[0].float().cpu() for level in features],
            torch.from_numpy(pixels.valid & own),
            row,
            col,
        )


def _require_room(scene: Raster) -> None:
    if min(scene.height, scene.width) < 2 * SIDE:
        raise UsageProblemError(
            f"{scene.path} is {scene.height} x {scene.width} pixels, too small to choose places",
            hint="Scenes of at least 32 x 32 pixels are looked at.",
        )


def _places(
    scene: Raster, grid: TileGrid, drawn: gpd.GeoDataFrame | None, settings: SuggestSettings
) -> list[tuple[int, int]]:
    """Rows and columns of tiles, more than will be looked at, as some may hold no data.

    They are in random order; the last are those of polygons, because of a huge scene only a part
    may be filled.
    """
    rows, cols = len(grid.rows.starts), len(grid.cols.starts)
    rng = np.random.default_rng(settings.seed)
    count = TRIES * settings.blocks
    chosen = [divmod(int(index), cols) for index in rng.permutation(rows * cols)[:count]]
    if len(chosen) < rows * cols and drawn is not None:
        at = np.array(_middles(scene, drawn)).reshape(-1, 2).astype(np.int64).T
        chosen += zip(
            tile_of(grid.rows, at[0]).tolist(), tile_of(grid.cols, at[1]).tolist(), strict=True
        )
    return list(dict.fromkeys(chosen))


def _covered(found: Candidates, drawn: gpd.GeoDataFrame | None, scene: Raster) -> Any:
    """Candidates that polygons lie in already."""
    empty = np.zeros(0)
    if drawn is None:
        return covered(found, empty, empty, empty)
    size = abs(scene.transform.determinant) ** 0.5
    reach = np.sqrt(areas_of(drawn.geometry).area.to_numpy()) / size / 2 + SIDE / 2
    rows, cols = np.array(_middles(scene, drawn)).reshape(-1, 2).T
    return covered(found, rows, cols, reach)


def _middles(scene: Raster, drawn: gpd.GeoDataFrame | None) -> list[tuple[float, float]]:
    """Row and column of the middle of each polygon."""
    if drawn is None:
        return []
    shapes = areas_of(drawn.geometry)
    places = (~scene.transform @ (shape.centroid.x, shape.centroid.y) for shape in shapes)
    return [(row, col) for col, row in places]


def _row(
    found: Candidates, index: int, common: float, names: tuple[str, ...], scene: Raster, field: str
) -> dict[str, Any]:
    shares = found.probabilities[index]
    first, second = np.argsort(-shares)[:2]
    reason = (
        f"{names[first]} ({shares[first]:.0%}) or {names[second]} ({shares[second]:.0%})? "
        f"{common:.0%} of the scene looks like this"
    )
    row, col = int(found.rows[index]), int(found.cols[index])
    corners = [(col, row), (col + SIDE, row), (col + SIDE, row + SIDE), (col, row + SIDE)]
    return {
        field: None,
        "first": names[first],
        "second": names[second],
        "reason": reason,
        "geometry": shapely.Polygon([scene.transform @ corner for corner in corners]),
    }


def _write(
    settings: SuggestSettings,
    scene: Raster,
    model: Model,
    rows: list[dict[str, Any]],
    drawn: gpd.GeoDataFrame | None,
) -> None:
    """Drawn polygons first, as they are, then the places with an empty class."""
    old = [] if drawn is None else drawn.assign(reason="drawn before").to_dict("records")
    places = gpd.GeoDataFrame([*old, *rows], crs=scene.crs)
    places["rank"] = [0] * len(old) + list(range(1, len(rows) + 1))
    places[settings.class_field] = class_texts(places[settings.class_field])
    styles = {c.id: ClassStyle(c.name, c.color) for c in model.card.legend.classes}
    table = _as_table(places)
    out = settings.out
    with WorkFolder(out).scratch() as folder:
        work = folder / "layer"
        try:
            work.mkdir()
            copy_other_layers(out, work / out.name, LAYER)
            layer = Layer(
                file=str(work / out.name),
                name=LAYER,
                geometry_type="Unknown",
                wkt=None if scene.crs is None else crs_text(scene.crs),
            )
            with LayerWriter() as writer:
                writer.write(iter(table.to_batches()), table.schema, layer)
            add_outline_style(work / out.name, LAYER, styles, "first")
        except OSError as error:
            raise HysegError(
                f"{out}: cannot be written ({error})",
                hint="Check the folder's permissions and the free space.",
            ) from error
        move_into_place(work, [out.name], out.parent, files_of_layer(out))


def _as_table(places: gpd.GeoDataFrame) -> pa.Table:
    """Features as a layer is written from them; a column without any value is one of text."""
    table = pa.Table.from_pandas(gpd.pd.DataFrame(places.drop(columns="geometry")))
    fields = [
        field.with_type(pa.string()) if pa.types.is_null(field.type) else field
        for field in table.schema
        if field.name in places.columns
    ]
    table = table.select([field.name for field in fields]).cast(pa.schema(fields))
    shapes = pa.array(places.geometry.to_wkb().tolist(), pa.binary())
    return table.append_column(GEOMETRY, shapes)
