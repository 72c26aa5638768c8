"""Settings of `hyseg evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """`hyseg evaluate`."""

    map: Path
    reference: Path
    legend: Path | None = None
    """Legend of both rasters; None for the one stored in the map."""
