"""What a map tells of how it was made, in its TIFF tags."""

from __future__ import annotations

import json
import math
from pathlib import Path

from hyseg_cli import __version__
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.learn.model.card import MODEL_TAG, ModelCard
from hyseg_cli.learn.model.locate import SUFFIX, find_model
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.inspection import Inspection
from hyseg_cli.workflows.predict.jobs import Job

COPIED = ("AREA_OR_POINT", "TIFFTAG_DATETIME")
"""Tags of a scene that hold for its map, too: what a pixel stands for, when it was taken."""


def map_tags(
    inspection: Inspection,
    itself: Scene,
    card: ModelCard,
    digest: str,
    job: Job,
    settings: PredictSettings,
) -> dict[str, str]:
    """Provenance of a map; nothing in it changes from one run to the next.

    Args:
        inspection: What the network read, the scene with its neighbours if they were asked for.
        itself: The scene alone.
        card: The model's card.
        digest: Hash of the model.
        job: The scene's name and its outputs.
        settings: What was asked for.
    """
    used = {
        "bands": inspection.contract.bands,
        "tile_size": settings.tile_size,
        "overlap": settings.overlap_px,
        "seed": settings.seed,
        "noise": settings.noise,
        "tta": settings.tta,
        "gsd": settings.gsd,
        "collar": settings.collar,
        # JSON has no NaN.
        "src_nodata": [v if math.isfinite(v) else str(v) for v in settings.src_nodata],
        "context": settings.context,
        "bounds": settings.bounds,
        "aoi": None if settings.aoi is None else settings.aoi.name,
    }
    tags = {
        "HYSEG_VERSION": __version__,
        "HYSEG_MODEL_NAME": find_model(settings.model).name.removesuffix(SUFFIX),
        MODEL_TAG: digest,
        "HYSEG_SETTINGS": json.dumps(used),
        "HYSEG_INPUT": Path(job.scene).name,
        "HYSEG_INPUT_SIZE": f"{itself.width} x {itself.height}",
        "HYSEG_DATA": card.data.name,
        "HYSEG_LICENCE": card.data.licence,
        "HYSEG_ATTRIBUTION": card.data.attribution,
        "TIFFTAG_SOFTWARE": f"hyseg {__version__}",
    }
    return tags | {key: itself.tags[key] for key in COPIED if key in itself.tags}
