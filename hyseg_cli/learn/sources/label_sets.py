"""What labels can say where several legends meet: one class, or one of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.legend import NODATA_ID

ClassSet = frozenset[int]
"""Channels of the common legend."""


@dataclass(frozen=True)
class LabelSets:
    """The sets of classes that label values 0 to K-1 stand for.

    The first N are the single classes, in the order of the legend, so that a label below N is the
    channel of its class; the sets of several follow. Labels of training chips stay 8-bit.
    """

    classes: int
    """Number of classes N."""
    several: tuple[ClassSet, ...] = ()
    """The sets of more than one class and fewer than all, each once."""

    def __len__(self) -> int:
        """Number of label values K."""
        return self.classes + len(self.several)

    @classmethod
    def of(cls, classes: int, found: Iterable[ClassSet]) -> LabelSets:
        """The sets among `found` that are neither a class nor all of them, in a fixed order."""
        wanted = {one for one in found if 1 < len(one) < classes}
        return cls(classes, tuple(sorted(wanted, key=sorted)))

    @property
    def is_plain(self) -> bool:
        """Whether every label is a class."""
        return not self.several

    def label_of(self, allowed: ClassSet) -> int:
        """The label value of a set; 255 for none and for all classes, which say nothing.

        Raises:
            ValueError: If the set is not one of these.
        """
        if len(allowed) in (0, self.classes):
            return NODATA_ID
        if len(allowed) == 1:
            return min(allowed)
        return self.classes + self.several.index(allowed)

    def allowed_by(self, label: int) -> ClassSet:
        """The classes that a label value allows."""
        return frozenset({label}) if label < self.classes else self.several[label - self.classes]

    def table(self) -> npt.NDArray[np.bool_]:
        """Which classes each label allows, bool (K, N)."""
        table = np.zeros((len(self), self.classes), np.bool_)
        for label in range(len(self)):
            table[label, sorted(self.allowed_by(label))] = True
        return table

    def counts_of_classes(self, labelled: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Pixels of each class (N,) from pixels by label (K,): those of several in equal parts."""
        table = self.table().astype(float)
        shared: npt.NDArray[np.float64] = labelled @ (table / table.sum(axis=1, keepdims=True))
        return shared
