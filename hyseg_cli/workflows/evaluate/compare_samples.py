"""`hyseg evaluate A B --samples`: two maps at the same labelled points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyseg_cli.errors import HysegError
from hyseg_cli.messages import Report
from hyseg_cli.sampling.estimates import McNemar
from hyseg_cli.settings.sample import SampleEvaluationSettings
from hyseg_cli.workflows.evaluate.samples import SampleEvaluation, examine


@dataclass(frozen=True)
class SampleComparison:
    """The estimates of both maps, and whether they differ."""

    names: tuple[str, str]
    """The files."""
    evaluations: tuple[SampleEvaluation, SampleEvaluation]
    test: McNemar

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return {
            "maps": [
                {"map": name, **found.to_dict()}
                for name, found in zip(self.names, self.evaluations, strict=True)
            ],
            "mcnemar": {
                "both_right": self.test.both,
                "only_first_right": self.test.only_first,
                "only_second_right": self.test.only_second,
                "neither_right": self.test.neither,
                "p_value": self.test.p_value,
            },
        }

    def to_table(self) -> str:
        """Both tables, and what sets the maps apart."""
        parts = [
            f"{name}\n{found.to_table()}"
            for name, found in zip(self.names, self.evaluations, strict=True)
        ]
        test = self.test
        parts.append(
            f"only {self.names[0]} is right at {test.only_first} points, only {self.names[1]} at "
            f"{test.only_second}, both at {test.both}, neither at {test.neither}: "
            f"McNemar p = {test.p_value:.4f} (points count alike, whatever area they stand for)"
        )
        return "\n\n".join(parts)


def compare_maps(
    settings: SampleEvaluationSettings, other: Path, report: Report
) -> SampleComparison:
    """Evaluate two maps at the same points and test whether they differ by more than chance.

    Args:
        settings: The points, and the first map.
        other: The second map.
        report: Where messages go.

    Raises:
        HysegError: As for one map, or if no point can be used for both.
    """
    first, first_right = examine(settings, settings.map, report)
    second, second_right = examine(settings, other, report)
    shared = sorted(first_right.keys() & second_right.keys())
    if not shared:
        raise HysegError(
            f"no labelled point lies in both {settings.map} and {other}",
            hint="Compare maps of the same place.",
        )
    test = McNemar.of(
        np.array([first_right[point] for point in shared]),
        np.array([second_right[point] for point in shared]),
    )
    return SampleComparison((str(settings.map), str(other)), (first, second), test)
