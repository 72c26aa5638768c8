"""A scene looked at with the eyes of a model, before it is mapped."""

from __future__ import annotations

from dataclasses import dataclass

from hyseg_cli.geo.reading import SceneReader, scene_validity
from hyseg_cli.geo.scene import Scene, open_scene
from hyseg_cli.geo.validity import Validity
from hyseg_cli.learn.card import ModelCard
from hyseg_cli.learn.contract import Contract, match
from hyseg_cli.learn.shift import Shift, measure_shift
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.areas import distorted_areas


@dataclass(frozen=True)
class Inspection:
    """What is known of a scene and of how a model reads it."""

    scene: Scene
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
        share = f"{100 * collar.share:.1f} % of {self.scene.path}"
        return (f"{share} are a collar without data; --collar none maps it, too",)


def inspect_scene(path: str, card: ModelCard, settings: PredictSettings) -> Inspection:
    """Look at a scene.

    Raises:
        HysegError: If it cannot be read or does not fit the model.
    """
    scene = open_scene(path)
    contract = match(scene, card, settings.bands, gsd_m=settings.gsd_m)
    validity = scene_validity(
        scene, contract.bands, nodata=settings.src_nodata, find_collars=settings.collar == "auto"
    )
    with SceneReader(scene, contract.bands, validity=validity) as reader:
        shift = measure_shift(reader, card)
    return Inspection(scene, contract, validity, shift, distorted_areas(scene))
