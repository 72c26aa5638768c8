"""Does a scene fit a model? Bands, data type and resolution against the model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.raster.bands import require_bands
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.learn.model.card import ModelCard

TOLERANCE = 1.1
"""A scene whose pixel size is outside the training range by more than this is resampled."""
MAX_RATIO = 8
"""Largest factor by which pixels are enlarged or shrunk for the network. Finer scenes would need
tiles of too many pixels; coarser ones show too little."""


@dataclass(frozen=True)
class Contract:
    """How a model reads a scene."""

    bands: tuple[int, ...]
    """Indexes of the bands from 1, in the model's order."""
    alignment: int
    """Pixels of the scene that stand for `ALIGNMENT` of the network; equal if it sees the scene's
    pixels unchanged."""
    warnings: tuple[str, ...]
    """Differences that do not forbid the run but may cost accuracy."""


def match(
    scene: Raster,
    card: ModelCard,
    bands: tuple[int, ...] = (),
    *,
    gsd_m: float | Literal["auto", "native"] = "auto",
) -> Contract:
    """Find the model's bands in a scene and check its requirements.

    Args:
        scene: The scene.
        card: The model's card.
        bands: Requested indexes; empty to find the bands by colour, by description, or by count.
        gsd_m: Ground size in metres of the pixels that the network sees; `native` for the
            scene's, `auto` for the scene's or what the model knows best.

    Raises:
        UsageProblemError: If a requested band does not exist.
        ModelMismatchError: If the scene cannot be read as the model needs it.
    """
    if not card.has_segmentation:
        raise ModelMismatchError(
            "the model holds a prior only, its segmentation was never trained",
            hint="Train it: `hyseg train --stage segmentation --prior MODEL ...`.",
        )
    chosen = _asked_for(scene, card, bands) if bands else _find(scene, card)
    for band in chosen:
        if scene.dtypes[band - 1] != card.dtype:
            raise ModelMismatchError(
                f"{scene.path}: band {band} is {scene.dtypes[band - 1]}, "
                f"the model was trained on {card.dtype}",
                hint=f"Convert it first, for example with `gdal_translate -ot Byte -scale`, "
                f"to values like those of {card.dtype} images.",
            )
    if not scene.has_place:
        placeless = f"{scene.path} is not georeferenced, so the map will not be either"
        if gsd_m not in ("auto", "native"):
            raise _unscalable(scene, "is not georeferenced, so its resolution is not known")
        return Contract(chosen, ALIGNMENT, (placeless,))
    alignment, warnings = _scale(scene, card, gsd_m)
    return Contract(chosen, alignment, warnings)


def alignment_for(name: str, resolution: float, card: ModelCard) -> int:
    """`Contract.alignment` of an image `name` whose pixels of `resolution` metres are known.

    Raises:
        ModelMismatchError: If its pixels differ too much from what the model knows.
    """
    if card.resolution_m is None:
        return ALIGNMENT
    low, high = card.resolution_m
    if low / TOLERANCE <= resolution <= high * TOLERANCE:
        return ALIGNMENT
    return _alignment(name, resolution, low if resolution < low else high)


def _asked_for(scene: Raster, card: ModelCard, bands: tuple[int, ...]) -> tuple[int, ...]:
    require_bands(bands, len(scene.dtypes), scene.path)
    if len(bands) not in (len(card.bands), len(card.required_bands)):
        raise ModelMismatchError(
            f"`bands` names {len(bands)} bands, the model needs {_needed(card)}",
            hint="Name one band for each, such as `bands` 1,2,3.",
        )
    return bands


def _find(scene: Raster, card: ModelCard) -> tuple[int, ...]:
    by_name = _find_by_name(scene, card)
    # A fourth band beside red, green and blue often has no name.
    if len(scene.data_bands) == len(card.bands) != len(by_name):
        return scene.data_bands
    if by_name:
        return by_name
    if len(scene.data_bands) == len(card.required_bands):
        return scene.data_bands
    example = ",".join(str(i) for i in range(1, len(card.bands) + 1))
    found = ", ".join(d or c for d, c in zip(scene.descriptions, scene.colors, strict=True))
    hint = f"Say which bands they are, in this order, such as `bands` {example}."
    if len(scene.data_bands) < len(card.required_bands):
        hint = f"This model maps images with {', '.join(card.bands)}; choose another `model`."
    raise ModelMismatchError(
        f"{scene.path} has {len(scene.data_bands)} band{'s' * (len(scene.data_bands) != 1)} "
        f"({found}), "
        f"the model needs {_needed(card)}",
        hint=hint,
    )


def _find_by_name(scene: Raster, card: ModelCard) -> tuple[int, ...]:
    """All bands of the model by colour or by description, or else those that it requires."""
    for wanted in (card.bands, card.required_bands):
        for names in (scene.colors, scene.descriptions):
            lowered = [(name or "").lower() for name in names]
            if all(lowered.count(band.lower()) == 1 for band in wanted):
                return tuple(lowered.index(band.lower()) + 1 for band in wanted)
    return ()


def _needed(card: ModelCard) -> str:
    """The number of bands of a model and their names."""
    text = f"{len(card.bands)} ({', '.join(card.bands)})"
    if not card.optional_bands:
        return text
    return f"{text}, or {len(card.required_bands)} without {', '.join(card.optional_bands)}"


def _scale(
    scene: Raster, card: ModelCard, gsd_m: float | Literal["auto", "native"]
) -> tuple[int, tuple[str, ...]]:
    """Alignment of the scene's tiles, and notes or warnings about it."""
    resolution = scene.resolution_m()
    known = card.resolution_m
    if resolution is None:
        if isinstance(gsd_m, float):
            raise _unscalable(scene, "has a georeference that cannot be measured in metres")
        return ALIGNMENT, (f"{scene.path}: its resolution is not known; it is mapped as it is",)
    if isinstance(gsd_m, float):
        return _alignment(scene.path, resolution, gsd_m), ()
    if known is None:
        text = f"the model does not say which resolution it saw; {scene.path} is mapped as it is"
        return ALIGNMENT, (text,)
    low, high = known
    if low / TOLERANCE <= resolution <= high * TOLERANCE:
        return ALIGNMENT, ()
    differs = (
        f"{scene.path} has pixels of {resolution:.2f} m, the model saw {low:.2f} to {high:.2f} m; "
    )
    if gsd_m == "native":
        return ALIGNMENT, (differs + "expect a worse map",)
    target = low if resolution < low else high
    alignment = _alignment(scene.path, resolution, target)
    seen = f"it is shown {resolution * alignment / ALIGNMENT:.2f} m"
    if resolution > high:
        seen += ", but detail that it looks for is missing"
    return alignment, (differs + seen,)


def _alignment(name: str, resolution: float, target: float) -> int:
    """Pixels of the scene `name` that cover the ground of `ALIGNMENT` pixels of `target` metres.

    Raises:
        ModelMismatchError: If the two differ by more than `MAX_RATIO`.
    """
    alignment = round(ALIGNMENT * target / resolution)
    if not ALIGNMENT <= alignment * MAX_RATIO <= ALIGNMENT * MAX_RATIO**2:
        raise ModelMismatchError(
            f"{name} has pixels of {resolution:.3g} m, the model needs {target:.3g} m: more "
            f"than {MAX_RATIO} times as {'coarse' if resolution > target else 'fine'}",
            hint="Resample the scene first (`gdalwarp -tr ... -r average`), train on such scenes, "
            "or map it as it is with `gsd` native.",
        )
    return alignment


def _unscalable(scene: Raster, reason: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"`gsd`: {scene.path} {reason}", hint="Map it as it is: `gsd` native."
    )
