"""Which training a few polygons get: a probe in seconds, or the whole network."""

from __future__ import annotations

from dataclasses import dataclass

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.geo.vector.onto_raster import outline
from hyseg_cli.learn.data.label_sources import read_features
from hyseg_cli.learn.data.pairs import ScenePair, find_pairs
from hyseg_cli.learn.few.backbone import transformer_of
from hyseg_cli.learn.few.polygons import areas_of
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.settings.train import TrainSettings

LITTLE = 0.2
"""Share of the scenes up to which polygons cover little."""
MANY = 3000
"""Polygons from which on they are no longer few."""


@dataclass(frozen=True)
class Decision:
    """Whether a probe is fitted, and why."""

    is_quick: bool
    reason: str
    """A sentence for the user."""


def decide(settings: TrainSettings) -> Decision:
    """Whether labels are few enough for a probe on a frozen transformer.

    They are if they are polygons that cover little of the scenes, if the model to go on from (the
    built-in one unless `start` names another) has a transformer, and if nothing was asked for
    that only the whole training can do. `--preset probe` asks for the probe.
    """
    if settings.preset == "probe":
        return Decision(is_quick=True, reason="`preset` probe asks for it")
    asked = settings.asked_of_whole_training
    if asked is not None:
        return Decision(is_quick=False, reason=f"{asked} is of the whole training")
    return _by_labels(settings)


def _by_labels(settings: TrainSettings) -> Decision:
    if settings.images is None or settings.labels is None:
        return Decision(is_quick=False, reason="a benchmark has many labels")
    pairs = find_pairs(settings.images, settings.labels)
    if not all(pair.labels[0].suffix.lower() in VECTOR_SUFFIXES for pair in pairs):
        return Decision(is_quick=False, reason="the labels are rasters")
    model = find_model(settings.start)
    if transformer_of(read_card(model)) is None:
        return Decision(
            is_quick=False, reason=f"{model.name} has no transformer that could stay as it is"
        )
    return _by_area(pairs, settings.class_field)


def _by_area(pairs: list[ScenePair], field: str) -> Decision:
    covered, whole, count = 0.0, 0.0, 0
    for pair in pairs:
        try:
            scene = open_raster(pair.image)
            share, count = _covered(pair, scene, field)
        except HysegError as error:
            return Decision(is_quick=True, reason=f"not measured: {error.message}")
        covered += share * scene.height * scene.width
        whole += scene.height * scene.width
    share = covered / whole
    if share > LITTLE:
        text = f"the polygons cover {share:.0%} of the scenes, more than {LITTLE:.0%}"
        return Decision(is_quick=False, reason=text)
    if count > MANY:
        return Decision(is_quick=False, reason=f"there are {count} polygons, more than {MANY}")
    text = f"{count} polygons cover {share:.2%} of the scenes, which is less than {LITTLE:.0%}"
    return Decision(is_quick=True, reason=text)


def _covered(pair: ScenePair, scene: Raster, field: str) -> tuple[float, int]:
    """Share of a scene that its polygons cover, and the number of features in the file."""
    shapes = read_features(pair.labels[0], scene, field).geometry
    usable = areas_of(shapes).make_valid()
    corners = outline(scene)
    return float(usable.intersection(corners).area.sum() / corners.area), len(shapes)
