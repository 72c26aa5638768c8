"""Where a report comes from: versions, files, models and settings."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from hyseg_cli import __version__
from hyseg_cli.geo.crs import name_of_crs
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.learn.model.card import ModelSource

Row = tuple[str, str]

OUTPUTS = frozenset(
    {"csv", "report", "overwrite", "out", "preview", "confidence", "probabilities"}
    | {"resume", "skip_existing", "on_error", "merge"}
)
"""Settings that say where results go, not how they are computed."""

MAP_TAGS = {
    "HYSEG_MODEL_NAME": "Model",
    "HYSEG_MODEL": "Its digest",
    "HYSEG_VERSION": "Made by hyseg",
    "HYSEG_INPUT": "Made from",
    "HYSEG_INPUT_SIZE": "Its size in pixels, width x height",
    "HYSEG_SETTINGS": "Made with",
    "HYSEG_DATA": "Training data",
    "HYSEG_LICENCE": "Licence of the training data",
    "HYSEG_ATTRIBUTION": "Attribution",
}
"""Tags of maps made by hyseg, and their names for users."""


@dataclass(frozen=True)
class Source:
    """A file that a report is based on, and its facts."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Provenance:
    """Where a report comes from."""

    version: str
    made: str
    """Date and time, UTC."""
    sources: tuple[Source, ...]
    settings: tuple[Row, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that made what is reported; the digest where no name is known."""
        known = (dict(source.rows) for source in self.sources)
        named = (rows.get("Model") or rows.get("Its digest") for rows in known)
        return tuple(dict.fromkeys(name for name in named if name))

    @classmethod
    def of(cls, settings: Any, sources: tuple[Source, ...]) -> Provenance:
        """The provenance with this version, now.

        Args:
            settings: A dataclass; values that differ from its defaults are shown.
            sources: Files.
        """
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return cls(__version__, made, sources, changed_settings(settings))


def changed_settings(settings: Any) -> tuple[Row, ...]:
    """Name and value of each field that is not at its default, named as in a settings file."""
    found = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        is_changed = field.default is MISSING or value != field.default
        if is_changed and field.name not in OUTPUTS:
            parts = value if isinstance(value, tuple) else (value,)
            found.append((field.name.replace("_", "-"), ", ".join(str(part) for part in parts)))
    return tuple(found)


def describe_map(title: str, path: Path) -> Source:
    """A raster, and how it was made, from its tags.

    Raises:
        HysegError: If it cannot be opened.
    """
    scene = open_raster(path)
    rows = [("File", scene.path), ("Pixels", f"{scene.width:,} x {scene.height:,}")]
    if scene.is_georeferenced and scene.crs is not None:
        resolution = scene.resolution_m()
        size = "" if resolution is None else f", pixels of {resolution:.3g} m"
        rows.append(("Place", f"{crs_name(scene.crs)}{size}"))
    tags = scene.tags
    rows += [(name, tags[tag]) for tag, name in MAP_TAGS.items() if tags.get(tag)]
    return Source(title, tuple(rows))


def crs_name(crs: CRS) -> str:
    """The common name of a CRS, such as WGS 84 / UTM zone 32N."""
    return name_of_crs(crs)


def describe_model(model: ModelSource) -> Source:
    """A model file, and the facts on its card."""
    card = model.card
    rows = [
        ("File", str(model.path)),
        ("Model", model.name),
        ("Its digest", model.digest),
        ("Bands", f"{card.bands_text} ({card.dtype})"),
        ("Training data", card.data.name),
        ("Credit", card.data.attribution),
        ("Licence of the data", card.data.licence),
    ]
    return Source("Model", tuple(row for row in rows if row[1]))
