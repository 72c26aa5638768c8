"""Settings of `hyseg sample`, and of `hyseg evaluate --samples`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.settings.checks import Quantity, check, check_report, check_suffix
from hyseg_cli.settings.choices import VECTOR_HINT, VECTOR_SUFFIXES, Allocation

EXPECTED_ACCURACY = 0.8
"""User's accuracy of a class without an expectation of its own."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """`hyseg sample`."""

    map: Path
    out: Path
    strata: Path | None = None
    """Raster of strata; None for the map classes."""
    legend: Path | None = None
    """Names of the classes; None for what the map says."""
    allocation: Allocation = "olofsson"
    target_se: float = 0.01
    """Standard error of overall accuracy."""
    count: int | None = None
    """Points in all; None for as many as `target_se` requires."""
    expect: tuple[str, ...] = ()
    """Expected accuracies, 0.85 for all or CLASS=0.7 for one."""
    min_per_class: int | None = None
    """Least number of points per stratum; None for 50 with olofsson, 2 otherwise."""
    min_distance: str | None = None
    """Least distance between points, such as 100m or 10px."""
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(
            0 < self.target_se < 1,
            f"`target_se` {self.target_se} is not between 0 and 1",
            "Give a share, such as 0.01 for one percent.",
        )
        for flag, value, least in (
            ("`count`", self.count, 1),
            ("`min_per_class`", self.min_per_class, 2),
            ("`seed`", self.seed, 0),
        ):
            check(
                value is None or value >= least,
                f"{flag} {value} is less than {least}",
                "A stratum needs two points for its variance." if least == 2 else f"Raise {flag}.",
            )
        for text in self.expect:
            parse_expectation(text)
        if self.min_distance is not None:
            distance = Quantity.parse(self.min_distance, ("m", "px"), "`min_distance`")
            check(distance.value > 0, "`min_distance` is 0", "Leave it out for no distance.")
        check_suffix(
            self.out,
            VECTOR_SUFFIXES,
            VECTOR_HINT,
        )


def parse_expectation(text: str) -> tuple[str, float]:
    """The class, empty for all, and the accuracy of `CLASS=0.8` or `0.8`.

    Raises:
        UsageProblemError: If it is neither.
    """
    name, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageProblemError(
            f"`expect` {text} is not an accuracy",
            hint="Write `expect` 0.85 for all classes, or `expect` water=0.95 for one.",
        )
    return name, value


@dataclass(frozen=True, kw_only=True)
class SampleEvaluationSettings:
    """`hyseg evaluate --samples`."""

    map: Path
    other: Path | None = None
    """A second map to compare with the first."""
    samples: Path
    field: str = "ref_class"
    """Field of the reference class, a name or an id."""
    design: str | None = None
    """The design's file, stratified (by the map's classes) or random; None for the file beside
    the points."""
    legend: Path | None = None
    report: Path | None = None
    """Where to write the estimates as a page."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_report(self.report)
        check(
            self.other is None or self.report is None,
            "`report` with `samples` shows one map",
            "Evaluate each map with a report of its own.",
        )
