"""What every workflow checks of its output before any work is done."""

from __future__ import annotations

from pathlib import Path

from hyseg_cli.errors import OutputExistsError, UsageProblemError


def require_free(out: Path, *, overwrite: bool, flag: str = "--out") -> None:
    """Refuse an output that exists, unless it may be replaced, or whose folder does not.

    Raises:
        OutputExistsError: If the output exists and `overwrite` is not set.
        UsageProblemError: If the folder is missing or the output is a folder.
    """
    if out.is_dir():
        raise UsageProblemError(f"{out} is a folder", hint=f"Give {flag} the name of a file.")
    if out.exists() and not overwrite:
        raise OutputExistsError(
            f"{out} exists already", hint=f"Use another {flag}, or --overwrite."
        )
    if not out.parent.is_dir():
        raise UsageProblemError(
            f"{out.parent}: no such folder", hint=f"Create it first, or correct {flag}."
        )
