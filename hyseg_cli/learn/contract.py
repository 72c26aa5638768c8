"""Does a scene fit a model? Bands, data type and resolution against the model card."""

from __future__ import annotations

from dataclasses import dataclass

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.bands import require_bands
from hyseg_cli.geo.scene import Scene
from hyseg_cli.learn.card import ModelCard


@dataclass(frozen=True)
class Contract:
    """How a model reads a scene."""

    bands: tuple[int, ...]
    """Indexes of the bands from 1, in the model's order."""
    warnings: tuple[str, ...]
    """Differences that do not forbid the run but may cost accuracy."""


def match(scene: Scene, card: ModelCard, bands: tuple[int, ...] = ()) -> Contract:
    """Find the model's bands in a scene and check what it expects of them.

    Args:
        scene: The scene.
        card: The model's card.
        bands: Indexes asked for; empty to find the bands by colour, by description, or by count.

    Raises:
        UsageProblemError: If a band asked for does not exist.
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
    return Contract(chosen, _differences(scene, card))


def _asked_for(scene: Scene, card: ModelCard, bands: tuple[int, ...]) -> tuple[int, ...]:
    require_bands(bands, len(scene.dtypes), scene.path)
    if len(bands) != len(card.bands):
        raise ModelMismatchError(
            f"--band names {len(bands)} bands, the model needs {len(card.bands)} "
            f"({', '.join(card.bands)})",
            hint="Name one band for each, such as --band 1,2,3.",
        )
    return bands


def _find(scene: Scene, card: ModelCard) -> tuple[int, ...]:
    for names in (scene.colors, scene.descriptions):
        lowered = [(name or "").lower() for name in names]
        if all(lowered.count(band.lower()) == 1 for band in card.bands):
            return tuple(lowered.index(band.lower()) + 1 for band in card.bands)
    if len(scene.data_bands) == len(card.bands):
        return scene.data_bands
    example = ",".join(str(i) for i in range(1, len(card.bands) + 1))
    found = ", ".join(d or c for d, c in zip(scene.descriptions, scene.colors, strict=True))
    hint = f"Say which bands they are, in this order, such as --band {example}."
    if len(scene.data_bands) < len(card.bands):
        hint = f"This model maps images with {', '.join(card.bands)}; choose another --model."
    raise ModelMismatchError(
        f"{scene.path} has {len(scene.data_bands)} bands ({found}), "
        f"the model needs {len(card.bands)} ({', '.join(card.bands)})",
        hint=hint,
    )


def _differences(scene: Scene, card: ModelCard) -> tuple[str, ...]:
    if not scene.is_georeferenced:
        return (f"{scene.path} has no place on earth; the map will have none either",)
    resolution = scene.resolution_m()
    if resolution is None or card.resolution_m is None:
        return ()
    low, high = card.resolution_m
    if low / 1.1 <= resolution <= high * 1.1:
        return ()
    warning = (
        f"{scene.path} has pixels of {resolution:.2f} m, the model saw {low:.2f} to {high:.2f} m; "
        "expect a worse map"
    )
    return (warning,)
