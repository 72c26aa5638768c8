"""Do two maps differ by more than chance at the same points?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class McNemar:
    """Points by which of two maps is right, and McNemar's exact test of them."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def of(cls, first: Bools, second: Bools) -> McNemar:
        """Count points (n,) at which the first and the second map are right."""
        return cls(
            both=int((first & second).sum()),
            only_first=int((first & ~second).sum()),
            only_second=int((~first & second).sum()),
            neither=int((~first & ~second).sum()),
        )

    @property
    def p_value(self) -> float:
        """How probable so uneven a split is, or a more uneven one, if both maps are as good.

        Points at which one map alone is right are then as often the one's as the other's: the
        two-sided binomial test with a half; 1 if there are none.

        Source: McNemar 1947 (doi:10.1007/BF02295996), in its exact form.
        """
        differing = self.only_first + self.only_second
        return float(binomtest(self.only_first, differing).pvalue) if differing else 1.0
