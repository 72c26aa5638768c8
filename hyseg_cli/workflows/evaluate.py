"""`hyseg evaluate`: how well a map agrees with a reference raster."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.console import Report
from hyseg_cli.errors import HysegError
from hyseg_cli.geo.grid import Window
from hyseg_cli.geo.reading import Pixels, SceneReader
from hyseg_cli.geo.scene import Scene, open_scene
from hyseg_cli.geo.style import legend_of
from hyseg_cli.learn.labels import encode_ids
from hyseg_cli.learn.metrics import ConfusionMatrix
from hyseg_cli.legend import Legend
from hyseg_cli.legend_files import read_legend
from hyseg_cli.settings import EvaluateSettings

STRIP_ROWS = 512


class Evaluation:
    """The outcome: a legend and what was counted."""

    def __init__(self, legend: Legend, matrix: ConfusionMatrix) -> None:
        self.legend = legend
        self.scores = matrix.scores()
        self.matrix = matrix

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON; what does not exist is null."""
        scores = self.scores
        per_class = {
            name: {
                metric: _number(getattr(scores, metric)[i])
                for metric in ("iou", "f1", "precision", "recall")
            }
            for i, name in enumerate(self.legend.names)
        }
        return {
            "miou": _number(scores.mean_iou),
            "mf1": _number(scores.mean_f1),
            "overall_accuracy": _number(scores.overall_accuracy),
            "pixels": scores.pixels,
            "classes": per_class,
            "confusion": self.matrix.counts.tolist(),
        }

    def to_table(self) -> str:
        """A plain table, one line per class; `n/a` where a class occurs in neither raster."""
        scores = self.scores
        lines = [f"{'class':<20} {'IoU':>6} {'F1':>6} {'prec.':>6} {'recall':>6}"]
        for i, name in enumerate(self.legend.names):
            values = (scores.iou[i], scores.f1[i], scores.precision[i], scores.recall[i])
            lines.append(f"{name:<20} " + " ".join(f"{_cell(v):>6}" for v in values))
        lines.append(f"{'mean':<20} {_cell(scores.mean_iou):>6} {_cell(scores.mean_f1):>6}")
        lines.append(f"{'overall accuracy':<20} {_cell(scores.overall_accuracy):>6}")
        lines.append(f"{'pixels compared':<20} {scores.pixels:>6}")
        return "\n".join(lines)


def run(settings: EvaluateSettings, report: Report) -> Evaluation:
    """Compare a map with a reference raster, pixel by pixel on the map's grid.

    A reference on another grid or in another CRS is read by nearest neighbour. Pixels that are
    nodata in either are left out.

    Raises:
        HysegError: If a raster is damaged or both share no labelled pixel.
    """
    mapped, reference = open_scene(settings.map), open_scene(settings.reference)
    legend = read_legend(settings.legend) if settings.legend else legend_of(mapped)
    _require_comparable(mapped, reference)
    matrix = ConfusionMatrix(len(legend))
    onto = mapped if mapped.is_georeferenced else None
    with (
        SceneReader(mapped, (1,)) as map_reader,
        SceneReader(reference, reference.data_bands, onto=onto) as reference_reader,
    ):
        for row in range(0, mapped.height, STRIP_ROWS):
            rows = min(STRIP_ROWS, mapped.height - row)
            window = Window(row, 0, rows, mapped.width)
            found = _channels(map_reader.read(window), legend, mapped)
            known = _channels(reference_reader.read(window), legend, reference)
            matrix.update(known, found)
            report.advance("comparing", row + rows, mapped.height)
    if matrix.counts.sum() == 0:
        raise HysegError(
            f"{settings.map} and {settings.reference} have no labelled pixel in common",
            hint="Check that they cover the same place and use the same class ids.",
        )
    return Evaluation(legend, matrix)


def _require_comparable(mapped: Scene, reference: Scene) -> None:
    if len(reference.data_bands) != 1:
        raise HysegError(
            f"{reference.path} has {len(reference.data_bands)} bands, not one of class ids",
            hint="Give a reference raster with one band of class ids.",
        )
    same_size = (mapped.height, mapped.width) == (reference.height, reference.width)
    if mapped.is_georeferenced != reference.is_georeferenced or (
        not mapped.is_georeferenced and not same_size
    ):
        raise HysegError(
            f"{mapped.path} and {reference.path} cannot be laid over each other: "
            "one has no place, or their sizes differ",
            hint="Georeference both, or compare rasters of one size.",
        )


def _channels(pixels: Pixels, legend: Legend, scene: Scene) -> npt.NDArray[np.uint8]:
    return encode_ids(pixels.image[0], legend, scene.path, pixels.valid)


def _cell(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
