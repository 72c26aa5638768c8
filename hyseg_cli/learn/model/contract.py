"""Does a scene fit a model? Bands, data type and resolution against the model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.raster.bands import require_bands
from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.learn.model.card import ModelCard

if TYPE_CHECKING:  # it needs GDAL, which a training on pictures does without
    from hyseg_cli.geo.raster.raster import Raster

PixelSize = float | Literal["auto", "native"]
"""Metres, or how they are found."""
TOLERANCE = 1.1
"""A scene is resampled if its pixels are larger than the model maps best, or smaller than it has
seen, by more than this."""
ENLARGED = 2.5
"""Scenes that are coarser than the model maps best are enlarged up to that many times. Beyond it,
a tile shows too little of the land, and scrub, lakes and fields fall apart in squares."""
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

    def network_pixel_m(self, scene: Raster) -> float | None:
        """Ground size of the pixels that the network sees of a scene, if it is known."""
        resolution = scene.resolution_m()
        return None if resolution is None else resolution * self.alignment / ALIGNMENT


def match(
    scene: Raster,
    card: ModelCard,
    bands: tuple[int, ...] = (),
    *,
    gsd_m: PixelSize = "auto",
) -> Contract:
    """Find the model's bands in a scene and check its requirements.

    Args:
        scene: The scene.
        card: The model's card.
        bands: Requested indexes; empty to find the bands by colour, by description, or by count.
        gsd_m: Ground size in metres of the pixels that the network sees; `native` for the
            scene's, `auto` for the scene's, or the one that the model maps best if it is finer.

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
            raise _unscalable(scene.path, "is not georeferenced, so its resolution is not known")
        return Contract(chosen, ALIGNMENT, (placeless,))
    alignment, warnings = _scale(scene, card, gsd_m)
    return Contract(chosen, alignment, warnings)


def alignment_for(
    name: str, resolution: float | None, card: ModelCard, gsd_m: PixelSize = "auto"
) -> int:
    """`Contract.alignment` of an image.

    Args:
        name: Of the image.
        resolution: Ground size of its pixels in metres; None if it is not known.
        card: Of the model.
        gsd_m: As for `match`.

    Raises:
        ModelMismatchError: If its pixels differ too much from what the network has to see, or
            their size is needed and not known.
    """
    if isinstance(gsd_m, float):
        if resolution is None:
            raise _unscalable(name, "does not say how large its pixels are")
        return _alignment(name, resolution, gsd_m)
    if resolution is None or gsd_m == "native":
        return ALIGNMENT
    target = _shown(resolution, card)
    return ALIGNMENT if target is None else _alignment(name, resolution, target)


def _shown(resolution: float, card: ModelCard) -> float | None:
    """Pixel size in metres that a scene of some pixel size is shown at; None for its own.

    Coarse scenes are enlarged to the pixel size that the model maps best, up to `ENLARGED` times:
    it finds more in interpolated pixels of the size it knows than in larger ones. Those coarser
    than any it has seen are enlarged at least to what it has.
    """
    if card.resolution_m is None:
        return None
    low, high = card.resolution_m
    best = high if card.best_resolution_m is None else card.best_resolution_m
    if resolution < low / TOLERANCE:
        return low
    if resolution <= best * TOLERANCE:
        return None
    return max(best, min(resolution / ENLARGED, high))


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


def _scale(scene: Raster, card: ModelCard, gsd_m: PixelSize) -> tuple[int, tuple[str, ...]]:
    """Alignment of the scene's tiles, and notes or warnings about it."""
    resolution = scene.resolution_m()
    if resolution is None and isinstance(gsd_m, float):
        raise _unscalable(scene.path, "has a georeference that cannot be measured in metres")
    alignment = alignment_for(scene.path, resolution, card, gsd_m)
    if isinstance(gsd_m, float):
        return alignment, ()
    if resolution is None:
        return alignment, (f"{scene.path}: its resolution is not known; it is mapped as it is",)
    if card.resolution_m is None:
        text = f"the model does not say which resolution it saw; {scene.path} is mapped as it is"
        return alignment, (text,)
    low, high = card.resolution_m
    if low / TOLERANCE <= resolution <= high * TOLERANCE:
        return alignment, ()
    differs = (
        f"{scene.path} has pixels of {resolution:.2f} m, the model saw {low:.2f} to {high:.2f} m; "
    )
    if gsd_m == "native":
        return alignment, (differs + "expect a worse map",)
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


def _unscalable(name: str, reason: str) -> ModelMismatchError:
    return ModelMismatchError(f"`gsd`: {name} {reason}", hint="Map it as it is: `gsd` native.")
