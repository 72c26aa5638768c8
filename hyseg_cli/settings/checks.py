"""How settings tell what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from hyseg_cli.errors import UsageProblemError


def check(condition: bool, message: str, hint: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise a UsageProblemError unless a condition holds."""
    if not condition:
        raise UsageProblemError(message, hint=hint)


def check_suffix(path: Path, suffixes: tuple[str, ...], hint: str, flag: str = "--out") -> None:
    """Raise a UsageProblemError unless a path ends in one of the suffixes."""
    check(
        path.suffix.lower() in suffixes,
        f"{flag} {path} does not end in {' or '.join(suffixes)}",
        hint,
    )


def check_report(path: Path | None) -> None:
    """Raise a UsageProblemError unless a report, if there is one, is a page."""
    if path is not None:
        check_suffix(path, (".html", ".htm"), "Reports end in .html.", "--report")
