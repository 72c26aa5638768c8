"""A model compared with a source, in the classes that the labels of the source distinguish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.learn.data.pairs import ScenePair
from hyseg_cli.learn.scores.crosswalk import Crosswalk, Merging, merge_classes
from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.learn.sources.source_scores import OTHER, Collapse
from hyseg_cli.legend import NODATA_ID, Legend
from hyseg_cli.settings.source import SourceSettings
from hyseg_cli.workflows.sources import Source, match_source

Channels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MappedSource:
    """A source beside a model."""

    source: Source
    of_model: Channels
    """(256,): the channel of the compared classes of each class of the model."""
    encoding: Channels
    """(256,): the label value of each class of the source."""
    collapse: Collapse

    @classmethod
    def of(cls, settings: SourceSettings, model: Legend, merging: Merging) -> MappedSource:
        """Match the legends of a source and a model.

        Args:
            settings: The source.
            model: Legend of the model.
            merging: Classes of the model to rename, and so to merge, or to leave out; the rules
                of the source follow.

        Raises:
            UsageProblemError: If the mapping cannot be used.
        """
        common, of_model = merge_classes(model, merging)
        source = match_source(settings, common, merging)
        labels = LabelSets.of(len(common), source.classes.sets)
        return cls(
            source,
            of_model,
            source.classes.encoding(labels),
            Collapse.of(source.classes, labels),
        )

    @property
    def pairs(self) -> list[ScenePair]:
        """Its images."""
        return [placed.pair for placed in self.source.pairs]

    @property
    def legend(self) -> Legend:
        """Of its labels."""
        return self.source.classes.legend

    @property
    def unscored(self) -> tuple[str, ...]:
        """Classes that the means leave out."""
        return (OTHER,)

    @property
    def resolution_m(self) -> float | None:
        """Ground size of the pixels of images that do not say it themselves."""
        sizes = self.source.settings.resolution
        return sum(sizes) / len(sizes) if sizes else None

    @property
    def crosswalk(self) -> Crosswalk:
        """The crosswalk of rasters that `compare` has made comparable."""
        legend = self.collapse.legend
        same = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
        same[: len(legend)] = range(len(legend))
        return Crosswalk(legend, (same,), same, np.zeros(NODATA_ID + 1, np.bool_))

    def compare(self, labels: Channels, mapped: Channels) -> tuple[Channels, Channels]:
        """Labels and a map as indices of the classes that the source distinguishes.

        Args:
            labels: Channels of the source's legend, 255 where unknown.
            mapped: Channels of the model's legend, likewise.
        """
        values = self.encoding[labels]
        return self.collapse.reference[values], self.collapse.mapped(values, self.of_model[mapped])
