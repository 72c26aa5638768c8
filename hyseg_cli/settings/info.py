"""Settings of `hyseg info`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class InfoSettings:
    """`hyseg info`."""

    path: str | None = None
    """A scene, a map or a model, whatever it is called; None for the built-in model."""
    model: Path | None = None
    """Model that a scene is held against; None for the built-in one."""
    bands: tuple[int, ...] = ()
    """Indexes from 1 of a scene's bands; empty to find the model's bands by name."""
