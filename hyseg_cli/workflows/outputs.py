"""Checks of outputs before any work is done, and writing of text files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from hyseg_cli.errors import HysegError, OutputExistsError, UsageProblemError
from hyseg_cli.geo.atomic import replacing


def require_free(out: Path, *, overwrite: bool, flag: str = "`out`") -> None:
    """Refuse an output that exists, unless it may be replaced, or whose folder does not.

    Raises:
        OutputExistsError: If the output exists and `overwrite` is not set.
        UsageProblemError: If the folder is missing or the output is a folder.
    """
    if out.is_dir():
        raise UsageProblemError(f"{out} is a folder", hint=f"Give {flag} the name of a file.")
    if out.exists() and not overwrite:
        raise OutputExistsError(
            f"{out} exists already", hint=f"Use another {flag}, or `overwrite`."
        )
    if not out.parent.is_dir():
        raise UsageProblemError(
            f"{out.parent}: no such folder", hint=f"Create it first, or correct {flag}."
        )
    # Better now than after hours; writing the file shows whether it is true.
    if not os.access(out.parent, os.W_OK):
        raise HysegError(
            f"{out}: the folder cannot be written to",
            hint=f"Check its permissions, or use another {flag}.",
        )


def refuse_inputs(outputs: Mapping[str, Path], inputs: Iterable[str]) -> None:
    """Refuse outputs that would replace an input, by any path or link.

    Args:
        outputs: By the flag that asks for them.
        inputs: Paths; names that are not local files are ignored.

    Raises:
        UsageProblemError: If an output is an input.
    """
    there = {flag: found for flag, path in outputs.items() if (found := _identity(path))}
    if not there:
        return
    read = {found: name for name in inputs if (found := _identity(name))}
    for flag, found in there.items():
        if found in read:
            raise UsageProblemError(
                f"{flag} {outputs[flag]} would replace the input {read[found]}",
                hint=f"Use another {flag}.",
            )


def _identity(path: str | Path) -> tuple[int, int] | None:
    """An identity shared by all names of a file; None if there is no such file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def write_text(path: Path, text: str) -> None:
    """Write a file of text as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in full or not at all.

    Raises:
        HysegError: If it cannot be written; the previous file is then kept.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise HysegError(
            f"{path} cannot be written ({error.strerror})",
            hint="Check the folder's permissions and the free space.",
        ) from error
