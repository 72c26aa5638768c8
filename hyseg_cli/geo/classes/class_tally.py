"""What a map holds of each class, counted while it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.classes.folded_counts import count_rows
from hyseg_cli.legend import NODATA_ID


@dataclass
class Tally:
    """Pixels and ground by class id, and the time they took; mutable."""

    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(NODATA_ID + 1, np.int64))
    area_m2: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(NODATA_ID + 1))
    seconds: float = 0.0

    def count(self, ids: npt.NDArray[np.uint8], row_areas_m2: npt.NDArray[np.float64]) -> None:
        """Add rows of class ids, and the area of a pixel of each row."""
        count_rows(ids, row_areas_m2, self.pixels, self.area_m2)

    def add(self, summary: dict[str, Any]) -> None:
        """Add what `to_dict` told of another tally."""
        for key, (pixels, area) in summary["classes"].items():
            self.pixels[int(key)] += pixels
            self.area_m2[int(key)] += area
        self.seconds += summary["seconds"]

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the classes that occur, ready for JSON."""
        found = np.flatnonzero(self.pixels)
        classes = {int(i): (int(self.pixels[i]), float(self.area_m2[i])) for i in found}
        return {"classes": classes, "seconds": self.seconds}
