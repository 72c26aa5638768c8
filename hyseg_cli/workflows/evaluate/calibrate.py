"""`hyseg evaluate --probabilities`: whether probabilities are right as often as they say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.classes.styles import legend_of
from hyseg_cli.geo.raster.ground import grid_for
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.encode_labels import encode_labels
from hyseg_cli.learn.model.card import MODEL_TAG, digest_of, read_card
from hyseg_cli.learn.model.locate import find_model, is_built_in, is_path
from hyseg_cli.learn.model.weights import replace_card
from hyseg_cli.learn.scores.calibration import (
    PixelSample,
    Reliability,
    ReliabilityCounts,
    Temperature,
    fit_temperature,
)
from hyseg_cli.legend import NODATA_ID, Legend, read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.evaluate import CalibrateSettings

STRIP_ROWS = 256
STRIP_PIXELS = 2**22
"""Of very wide rasters, fewer rows are read at once."""
MOST_SATURATED = 0.2


@dataclass(frozen=True)
class Calibration:
    """The calibration, and the temperature that would correct it."""

    reliability: Reliability
    temperature: Temperature
    written_to: Path | None
    """Model file that the temperature was written to."""

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON; what does not exist is null."""
        bins = [
            {name: None if math.isnan(value) else value for name, value in asdict(b).items()}
            for b in self.reliability.bins
        ]
        return {
            "ece": self.reliability.ece,
            "brier": self.reliability.brier,
            "pixels": self.reliability.pixels,
            "saturated": self.reliability.saturated,
            "risk_by_coverage": self.reliability.certainty.risk,
            "aurc": self.reliability.certainty.aurc,
            "aurc_ideal": self.reliability.certainty.ideal,
            "bins": bins,
            "temperature": asdict(self.temperature),
            "written_to": None if self.written_to is None else str(self.written_to),
        }

    def to_table(self) -> str:
        """The reliability diagram in numbers, and the temperature."""
        found, fitted = self.reliability, self.temperature
        lines = [f"{'confidence':<20} {'pixels':>12} {'mean':>7} {'right':>7}"]
        lines += [
            f"{f'{b.low:.3f} to {b.high:.3f}':<20} {b.pixels:>12} "
            f"{b.confidence:>7.3f} {b.accuracy:>7.3f}"
            for b in found.bins
            if b.pixels
        ]
        lines.append(f"expected calibration error {found.ece:.4f}, Brier score {found.brier:.4f}")
        sure = found.certainty
        shares = ", ".join(f"{risk:.3f} of {share:.0%}" for share, risk in sure.risk.items())
        lines.append(f"wrong among the surest pixels: {shares}")
        lines.append(
            f"area under the risk-coverage curve {sure.aurc:.4f} (ideal {sure.ideal:.4f}, "
            f"by chance {sure.risk[1.0]:.4f})"
        )
        lines.append(
            f"temperature {fitted.value:.3f}: log loss {fitted.log_loss_before:.4f} -> "
            f"{fitted.log_loss:.4f}, calibration error {fitted.ece_before:.4f} -> "
            f"{fitted.ece:.4f} on {fitted.pixels} pixels"
        )
        if self.written_to is not None:
            lines.append(str(self.written_to))
        return "\n".join(lines)


def run(settings: CalibrateSettings, messages: Messages) -> Calibration:
    """Compare probabilities with a reference, and fit a temperature to them.

    Both rasters are read once, in strips, on the grid of the probabilities. With
    `settings.calibrate`, the temperature goes into that model's card, combined with the one that
    the probabilities were made with.

    Raises:
        ModelMismatchError: If the raster holds no probabilities of the legend's classes, or was
            not made by the model.
        HysegError: One of its kinds, if a file cannot be used or nothing is labelled.
    """
    probabilities, reference = open_raster(settings.probabilities), open_raster(settings.reference)
    legend = read_legend(settings.legend) if settings.legend else legend_of(probabilities)
    bands = _bands_of(probabilities, legend)
    model = None if settings.calibrate is None else _own_model(settings.calibrate)
    if model is not None:
        _require_maker(model, probabilities)
    _require_one_place(probabilities, reference)
    counts, sample = ReliabilityCounts(), PixelSample()
    for row, quantised, truth, usable in _strips(probabilities, bands, reference, legend):
        counts.update(quantised[:, usable], truth[usable])
        sample.update(row, quantised, truth, usable)
        messages.advance("reading probabilities", row + len(truth), probabilities.height)
    if counts.pixels == 0:
        raise HysegError(
            f"{probabilities.path} and {reference.path} have no labelled pixel in common",
            hint="Check that they cover the same place and use the same class ids.",
        )
    reliability, temperature = counts.reliability(), fit_temperature(*sample.take())
    if reliability.saturated > MOST_SATURATED:
        messages.warn(
            f"{reliability.saturated:.0%} of the pixels have a probability that 8 bits do not "
            "distinguish from 1: the temperature is closer to 1 than it should be"
        )
    if model is not None:
        card = read_card(model)
        replace_card(model, replace(card, temperature=card.temperature * temperature.value))
    return Calibration(reliability, temperature, model)


def _own_model(chosen: Path) -> Path:
    """The model file to change; models that are chosen by name are not changed."""
    found = find_model(chosen)
    if not is_path(str(chosen)) and is_built_in(found):
        raise UsageProblemError(
            f"`calibrate` {chosen} would change the built-in model",
            hint=f"Copy it first: cp {found} my{found.suffix}",
        )
    return found


def _strips(
    probabilities: Raster, bands: tuple[int, ...], reference: Raster, legend: Legend
) -> Iterator[tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]:
    """First row, quantised probabilities (classes, h, w), truth (h, w), where both are known."""
    onto = grid_for(probabilities, reference, may_be_bare=False)
    with (
        SceneReader(probabilities, bands) as probability_reader,
        ClassRaster(reference, onto=onto, named=frozenset(legend.ids)) as reference_raster,
    ):
        step = min(STRIP_ROWS, max(1, STRIP_PIXELS // probabilities.width))
        for row in range(0, probabilities.height, step):
            window = Window(row, 0, min(step, probabilities.height - row), probabilities.width)
            quantised = probability_reader.read(window).image
            labels = reference_raster.read(window)
            truth = encode_labels(labels.ids[None], legend, reference.path, labels.valid)
            # 255 in any band is nodata, whether the file declares it or not.
            usable = (quantised != NODATA_ID).all(axis=0) & (truth != NODATA_ID)
            yield row, quantised, truth, usable


def _bands_of(probabilities: Raster, legend: Legend) -> tuple[int, ...]:
    """The band of each class, by its description, or in order where bands have none."""
    named = {name: i for i, name in enumerate(probabilities.descriptions, 1) if name}
    is_named = set(legend.names) <= set(named)
    is_in_order = not named and len(probabilities.dtypes) == len(legend)
    if set(probabilities.dtypes) != {"uint8"} or len(probabilities.dtypes) != len(legend) or not (
        is_named or is_in_order
    ):  # fmt: skip
        bands = ", ".join(str(name) for name in probabilities.descriptions)
        raise ModelMismatchError(
            f"{probabilities.path} does not hold the probabilities of {', '.join(legend.names)}: "
            f"its bands are {bands} ({probabilities.dtypes[0]})",
            hint="Give the raster that `hyseg predict --probabilities` wrote.",
        )
    return tuple(named[name] for name in legend.names) if is_named else tuple(
        range(1, len(legend) + 1)
    )  # fmt: skip


def _require_maker(model: Path, probabilities: Raster) -> None:
    """A temperature fitted to the probabilities of one model means nothing to another."""
    digest, maker = digest_of(model), probabilities.tags.get(MODEL_TAG)
    if maker != digest:
        raise ModelMismatchError(
            f"{probabilities.path} was made by the model {maker or 'that it does not name'}, "
            f"but {model} is {digest}",
            hint="Run `hyseg predict --probabilities` again with this model as it is now.",
        )


def _require_one_place(probabilities: Raster, reference: Raster) -> None:
    if len(reference.data_bands) != 1:
        raise HysegError(
            f"{reference.path} is not a reference for {probabilities.path}: it has several bands",
            hint="Give a raster with one band of class ids, georeferenced as the map is.",
        )
    grid_for(probabilities, reference, may_be_bare=False)
