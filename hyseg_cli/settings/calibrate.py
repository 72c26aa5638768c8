"""Settings of `hyseg evaluate --probabilities`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings:
    """`hyseg evaluate --probabilities`."""

    probabilities: Path
    """A band for each class, as `hyseg predict --probabilities` writes them."""
    reference: Path
    legend: Path | None = None
    """Legend of the reference; None for the one that the probabilities carry."""
    calibrate: Path | None = None
    """Model file whose card gets the fitted temperature."""
