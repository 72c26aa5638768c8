"""Settings of `hyseg info`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.errors import UsageProblemError


@dataclass(frozen=True, kw_only=True)
class InfoSettings:
    """`hyseg info`."""

    path: str | None = None
    """A scene, a map or a model, whatever it is called; None for the built-in model."""
    model: Path | None = None
    """Model that a scene is compared with; None for the built-in one."""
    bands: tuple[int, ...] = ()
    """Indexes from 1 of a scene's bands; empty to find the model's bands by name."""
    images: Path | None = None
    """Images on which the prior of a model is measured; None to measure nothing."""
    labels: Path | None = None
    """Labels of these images."""

    def __post_init__(self) -> None:
        if (self.images is None) != (self.labels is None):
            raise UsageProblemError(
                "`images` and `labels` go together",
                hint="Give both to measure what the prior of a model does.",
            )
