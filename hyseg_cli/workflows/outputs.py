"""What every workflow checks of its output before any work is done, and how text gets its name."""

from __future__ import annotations

from pathlib import Path

from hyseg_cli.errors import HysegError, OutputExistsError, UsageProblemError


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


def write_text(path: Path, text: str) -> None:
    """Write a file that is there in full or not at all.

    Raises:
        HysegError: If it cannot be written; what was there before is left as it is.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise HysegError(
            f"{path} cannot be written ({error.strerror})",
            hint="Check the folder's permissions and the free space.",
        ) from error
