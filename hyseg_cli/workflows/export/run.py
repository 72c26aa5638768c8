"""`hyseg export`: a model as a file for other programs, checked on tiles of a real scene.

A file gets its name only if the program that will run it finds the classes that the network finds.
On noise even a wrong file was seen to agree, so the tiles come from a scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hyseg_cli.errors import CheckFailedError, UsageProblemError
from hyseg_cli.geo.atomic import folder_beside, move
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.inference.export import (
    Floats,
    ProbabilityNetwork,
    input_scale,
    run_onnx,
    run_pt2,
    write_onnx,
    write_pt2,
)
from hyseg_cli.learn.model.contract import match
from hyseg_cli.learn.model.locate import find_model, require_file
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.messages import Messages
from hyseg_cli.settings.export import ExportSettings
from hyseg_cli.workflows.outputs import refuse_inputs, require_free

LEAST_AGREEMENT = 0.999
"""Share of the pixels whose class has to be the network's."""
LEAST_VALID = 0.9
"""Share of a tile that has to hold data for it to be one to check on."""


@dataclass(frozen=True)
class ExportResult:
    """A file that was written and checked."""

    out: Path
    agreement: float
    """Share of the pixels with the network's class."""
    largest_difference: float
    """Of a probability."""
    tiles: int
    noise_agreement: float
    """Share of the pixels whose class is that of the network with its own noise: what leaving the
    noise out changes."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "out": str(self.out),
            "agreement": self.agreement,
            "largest_difference": self.largest_difference,
            "tiles": self.tiles,
            "noise_agreement": self.noise_agreement,
        }

    def to_text(self) -> str:
        """What was checked, to read."""
        return (
            f"{self.agreement:.4%} of the pixels of {self.tiles} tiles have the network's class; "
            f"probabilities differ by {self.largest_difference:.1e} at most\n"
            f"{self.noise_agreement:.2%} have the class that `hyseg predict` gives, which has "
            f"noise in its prior\n{self.out}"
        )


def run(settings: ExportSettings, messages: Messages) -> ExportResult:
    """Export a model, and check the file before it gets its name.

    Raises:
        CheckFailedError: If the file does not find the network's classes.
        HysegError: One of its kinds; nothing is left behind then.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    path = find_model(settings.model)
    require_file(path)
    refuse_inputs({"`out`": settings.out}, [str(settings.scene), str(path)])
    model = load_model(path)
    images = _images(settings, model)
    messages.note(f"running the network on {len(images)} tiles")
    own = _probabilities(model, images)
    wrapped = ProbabilityNetwork(model)
    with torch.inference_mode():
        wanted = [wrapped(torch.from_numpy(image)).numpy() for image in images]
    with folder_beside(settings.out) as folder:
        made = folder / settings.out.name
        messages.note(f"exporting to {settings.format}; this takes a minute or two")
        if settings.format == "onnx":
            write_onnx(wrapped, model.card, settings.tile_size, made)
            found = run_onnx(made, images)
        else:
            write_pt2(wrapped, model.card, settings.tile_size, made)
            found = run_pt2(made, images)
        result = compare(settings.out, wanted, found, own)
        move(made, settings.out)
    return result


def compare(
    out: Path, wanted: list[Floats], found: list[Floats], own: list[Floats]
) -> ExportResult:
    """How well a file agrees with the network.

    Args:
        out: The file.
        wanted: Probabilities (1, N, S, S) of the network without noise.
        found: Those of the file.
        own: Those of the network with its noise.

    Raises:
        CheckFailedError: If less than `LEAST_AGREEMENT` of the pixels have the network's class.
    """
    agreement = _agreement(wanted, found)
    pairs = zip(wanted, found, strict=True)
    largest = max(float(np.abs(one - other).max()) for one, other in pairs)
    if not agreement >= LEAST_AGREEMENT:
        raise CheckFailedError(
            f"{out}: the exported file finds the network's class on {agreement:.2%} of the pixels, "
            f"not on {LEAST_AGREEMENT:.1%}",
            hint="Report it with what `hyseg check` prints; nothing was written.",
        )
    return ExportResult(out, agreement, largest, len(wanted), _agreement(own, found))


def _agreement(one: list[Floats], other: list[Floats]) -> float:
    pairs = zip(one, other, strict=True)
    return float(np.mean([(a.argmax(axis=1) == b.argmax(axis=1)).mean() for a, b in pairs]))


def _probabilities(model: Model, images: list[Floats]) -> list[Floats]:
    """What the network finds with its own noise, before it is taken away."""
    from hyseg_cli.learn.inference.standardise import Standardise

    standardise = Standardise(model.card.radiometry)
    network, scale = model.network.eval(), input_scale(model.card)
    found = []
    with torch.inference_mode():
        for image in images:
            values = torch.from_numpy(image) * scale
            valid = torch.ones_like(values[:, :1], dtype=torch.bool)
            logits = network(standardise(values, valid), valid, torch.zeros(1, 2).long()).logits
            found.append((logits / model.card.temperature).softmax(dim=1).numpy())
    return found


def _images(settings: ExportSettings, model: Model) -> list[Floats]:
    """Tiles of the scene as the file takes them, (1, bands, S, S), spread over it.

    Raises:
        UsageProblemError: If the scene has no tile that holds data.
    """
    scene = open_raster(settings.scene)
    bands = match(scene, model.card, settings.bands, gsd_m="native").bands
    scale, images = input_scale(model.card), []
    with SceneReader(scene, bands) as reader:
        for window in _windows(scene, settings.tile_size, settings.tiles):
            pixels = reader.read(window)
            if pixels.valid.mean() >= LEAST_VALID:
                images.append((pixels.image[None] / scale).astype(np.float32))
            if len(images) == settings.tiles:
                break
    if not images:
        raise UsageProblemError(
            f"{settings.scene} has no tile of {settings.tile_size} pixels that holds data",
            hint="Give another `scene`, or a smaller `tile_size`.",
        )
    return images


def _windows(scene: Raster, side: int, count: int) -> Iterator[Window]:
    """Windows in an even grid over the scene, those in the middle first; more than are needed."""
    across = math.ceil(math.sqrt(4 * count))
    rows, cols = (
        np.linspace(0, max(0, size - side), across).round().astype(int)
        for size in (scene.height, scene.width)
    )
    places: list[tuple[int, int]] = [(int(row), int(col)) for row in rows for col in cols]
    middle: npt.NDArray[np.float64] = np.array([scene.height - side, scene.width - side]) / 2
    places = sorted(set(places), key=lambda place: float(np.abs(np.array(place) - middle).sum()))
    for row, col in places:
        yield Window(row, col, side, side)
