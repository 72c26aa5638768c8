"""The design of a sample: facts that a later estimate needs and the interpreter should not see.

It is kept in a JSON file beside the points. Strata and map classes of the points are stored there
and not in their table, where they would bias the interpreter.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError

FORMAT = "hyseg-sample/1"
SUFFIX = ".design.json"


@dataclass(frozen=True, kw_only=True)
class DesignStratum:
    """A stratum and how much of it was drawn."""

    id: int
    """Value in the raster of strata."""
    name: str
    area_m2: float
    pixels: int
    points: int
    expected: float
    """Accuracy that was expected when the points were divided among strata."""


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """The facts about one point."""

    stratum: int
    """Value of its stratum."""
    map_class: int
    """Class id of the map it was drawn from."""
    x: float
    """Pixel centre, in the CRS of the design."""
    y: float


@dataclass(frozen=True, kw_only=True)
class SampleDesign:
    """A stratified random sample of pixels."""

    map_name: str
    map_digest: str
    """As `Population.digest`."""
    crs: str
    """WKT."""
    pixel_size: float
    """Longer side of a pixel, in units of the CRS."""
    strata_raster: str | None
    """Name of the raster of strata; None if they are the map classes."""
    strata: tuple[DesignStratum, ...]
    allocation: str
    seed: int
    target_se: float | None
    """Target standard error of overall accuracy; None if the number of points was given."""
    min_distance: str | None
    has_equal_areas: bool
    """Whether pixels were equally large; otherwise drawn with probability proportional to area."""
    points: dict[int, DesignPoint]
    """By `sample_id`."""
    is_probability_sample: bool = True

    def to_json(self) -> str:
        """The design as JSON text."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> SampleDesign:
        """The design written by `to_json`.

        Args:
            text: The content of the file.
            name: What to call it in errors.

        Raises:
            ModelMismatchError: If this version cannot use it.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            found = values.pop("format", "no format")
            if found != FORMAT:
                raise _bad_design(name, f"its format is {found}, this version reads {FORMAT}")
            strata = tuple(DesignStratum(**stratum) for stratum in values.pop("strata"))
            points = {int(k): DesignPoint(**point) for k, point in values.pop("points").items()}
            return cls(strata=strata, points=points, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise _bad_design(name, f"its fields are not those of a design ({error})") from error
        except ValueError as error:
            raise _bad_design(name, str(error)) from error


def design_path(points: Path) -> Path:
    """The path of the design of a file of points."""
    return points.with_name(points.stem + SUFFIX)


def read_design(path: Path) -> SampleDesign:
    """The design in a file.

    Raises:
        UsageProblemError: If there is no such file.
        ModelMismatchError: If it does not hold the design of a probability sample.
        HysegError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageProblemError(f"{path}: no such file", hint="Check `design`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise HysegError(
            f"{path}: the design cannot be read ({error})", hint="Draw the sample again."
        ) from error
    design = SampleDesign.from_json(text, str(path))
    if not design.is_probability_sample:
        raise ModelMismatchError(
            f"{path} says that the points are not a probability sample",
            hint="They give no standard errors or intervals; draw points with `hyseg sample`.",
        )
    return design


def _bad_design(name: str, problem: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"{name} is not a sample design: {problem}",
        hint="Give the .design.json file that `hyseg sample` wrote beside the points.",
    )
