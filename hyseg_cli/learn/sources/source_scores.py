"""A prediction, measured on what the labels of a source can say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.learn.sources.mapping import SourceClasses
from hyseg_cli.legend import NODATA_ID, Legend, LegendClass, distinct_color

OTHER = "other"
"""What a prediction is that no class of the source stands for."""

Channels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Collapse:
    """How predictions become classes of a source.

    A prediction that the label of its pixel allows is right, and counts as the label. Any other
    counts as the narrowest class of the source that it falls into, or as `other`.
    """

    legend: Legend
    """The classes that the source tells apart; with `other` last, if predictions can be that."""
    reference: Channels
    """(256,): the channel of that legend of each label value, 255 for those not of the source."""
    _mapped: Channels
    """(256, N): the channel of each prediction, by the label value of its pixel."""

    @classmethod
    def of(cls, source: SourceClasses, labels: LabelSets) -> Collapse:
        """The collapse onto a source's legend, for labels encoded by `labels`."""
        sets = list(source.distinguished)
        own = [labels.label_of(allowed) for allowed in sets]
        reference = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
        reference[own] = range(len(own))
        narrowest = np.full(source.classes, len(sets), np.uint8)
        for channel in range(source.classes):
            fitting = [place for place, allowed in enumerate(sets) if channel in allowed]
            if fitting:
                narrowest[channel] = min(fitting, key=lambda place: len(sets[place]))
        mapped = np.tile(narrowest, (NODATA_ID + 1, 1))
        for place, allowed in enumerate(sets):
            mapped[own[place], sorted(allowed)] = place
        entries = list(_styled(source))
        if (narrowest == len(sets)).any():
            entries.append(
                LegendClass(id=len(entries), name=OTHER, color=distinct_color(len(entries)))
            )
        return cls(Legend(tuple(entries)), reference, mapped)

    @property
    def excluded(self) -> tuple[int, ...]:
        """Channels that the means leave out: `other` never occurs in labels."""
        return (len(self.legend) - 1,) if self.legend.names[-1] == OTHER else ()

    def mapped(self, labels: Channels, predicted: Channels) -> Channels:
        """Predictions, channels of the common legend, as channels of the source's.

        Args:
            labels: Label values of the pixels, any shape.
            predicted: Channels of the common legend, 255 where there is none; the same shape.
        """
        is_known = predicted != NODATA_ID
        found = self._mapped[labels, np.where(is_known, predicted, 0)]
        return np.where(is_known, found, np.uint8(NODATA_ID))


def _styled(source: SourceClasses) -> list[LegendClass]:
    """The classes that a source tells apart, each as the first class of its own that it is."""
    entries = []
    for place, (allowed, name) in enumerate(source.distinguished.items()):
        model = source.legend.classes[source.sets.index(allowed)]
        entries.append(replace(model, id=place, name=name))
    return entries
