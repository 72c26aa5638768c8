"""How settings report what is wrong with them, and amounts with their unit, as they are typed.

Amounts are such as 1.5px, 2m, 100m2, 0.5ha and 4GB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyseg_cli.errors import UsageProblemError


def check(condition: bool, message: str, hint: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise a UsageProblemError unless a condition holds."""
    if not condition:
        raise UsageProblemError(message, hint=hint)


def check_suffix(path: Path, suffixes: tuple[str, ...], hint: str, flag: str = "`out`") -> None:
    """Raise a UsageProblemError unless a path ends in one of the suffixes."""
    check(
        path.suffix.lower() in suffixes,
        f"{flag} {path} does not end in {' or '.join(suffixes)}",
        hint,
    )


def check_report(path: Path | None) -> None:
    """Raise a UsageProblemError if the name of a report does not end like a page."""
    if path is not None:
        check_suffix(path, (".html", ".htm"), "Reports end in .html.", "`report`")


def check_gsd(text: str) -> None:
    """Raise a UsageProblemError if a `gsd` is not one that `gsd_of` reads, or is nothing."""
    check(
        gsd_of(text) != 0,
        f"`gsd` {text} is not a valid size",
        "Use auto, native or metres such as 0.5m.",
    )


def gsd_of(text: str) -> float | Literal["auto", "native"]:
    """A pixel size as it is typed, metres as a number.

    Raises:
        UsageProblemError: If it is none.
    """
    if text == "auto":
        return "auto"
    if text == "native":
        return "native"
    return Quantity.parse(text, ("m",), "`gsd`").value


_PATTERN = re.compile(r"([0-9]*\.?[0-9]+)\s*(px|m2|ha|m|MB|GB)?")


@dataclass(frozen=True)
class Quantity:
    """A number and its unit."""

    value: float
    unit: str
    """px, m, m2, ha, MB or GB; a bare 0 is 0px."""

    @classmethod
    def parse(cls, text: str, units: tuple[str, ...], flag: str) -> Quantity:
        """Read an amount.

        Args:
            text: What was typed.
            units: The valid units.
            flag: The option, for the error.

        Raises:
            UsageProblemError: If it is not an amount in one of these units.
        """
        match = _PATTERN.fullmatch(text.strip())
        unit = (match[2] or "") if match else ""
        if match and unit == "" and float(match[1]) == 0:
            unit = units[0]
        if match is None or unit not in units:
            raise UsageProblemError(
                f"{flag} {text} is not an amount in {' or '.join(units)}",
                hint=f"Write the unit, such as {flag} {match[1] if match else 1}{units[0]}.",
            )
        return cls(float(match[1]), unit)
