"""A scene looked at with the eyes of a model, before it is mapped."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hyseg_cli.geo.raster.ground import distorted_areas
from hyseg_cli.geo.raster.raster import Scene, open_scene
from hyseg_cli.geo.raster.reader import SceneReader, scene_validity
from hyseg_cli.geo.raster.validity import Validity
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.contract import Contract, match
from hyseg_cli.learn.model.shift import Shift, measure_shift
from hyseg_cli.settings.predict import PredictSettings


@dataclass(frozen=True)
class Part:
    """A scene in a raster that holds others, too."""

    scene: Scene
    window: Window
    """Where it lies in the raster."""


@dataclass(frozen=True)
class Inspection:
    """What is known of a scene and of how a model reads it."""

    scene: Scene
    """The raster that is read."""
    itself: Scene
    """What is to be mapped: this raster, or a part of it."""
    contract: Contract
    validity: Validity
    shift: Shift | None
    """How far its values are from the training's; None if that is not known."""
    distortion: str | None
    """What is to be said of areas in its CRS."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may cost accuracy."""
        found = (self.shift and self.shift.warning, self.distortion)
        return self.contract.warnings + tuple(warning for warning in found if warning)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided and could be decided otherwise."""
        collar = self.validity.collar
        if collar is None:
            return ()
        share = f"{100 * collar.share:.1f} % of {self.itself.path}"
        return (f"{share} are a collar without data; --collar none maps it, too",)


def inspect_scene(
    path: str, card: ModelCard, settings: PredictSettings, part: Part | None = None
) -> Inspection:
    """Look at a scene.

    Args:
        path: The raster.
        card: What the model says of itself.
        settings: What was asked for.
        part: The scene in question, if the raster holds others, too.

    Raises:
        HysegError: If it cannot be read or does not fit the model.
    """
    scene = open_scene(path)
    contract = match(scene, card, settings.bands, gsd_m=settings.gsd_m)
    validity = _validity(scene, contract, settings)
    if part is not None:
        collar = _validity(part.scene, contract, settings).collar
        origin = part.window.row, part.window.col
        validity = replace(validity, collar=collar and replace(collar, origin=origin))
    with SceneReader(scene, contract.bands, validity=validity) as reader:
        shift = measure_shift(reader, card)
    itself = scene if part is None else part.scene
    return Inspection(scene, itself, contract, validity, shift, distorted_areas(scene))


def _validity(scene: Scene, contract: Contract, settings: PredictSettings) -> Validity:
    find_collars = settings.collar == "auto"
    return scene_validity(
        scene, contract.bands, nodata=settings.src_nodata, find_collars=find_collars
    )
