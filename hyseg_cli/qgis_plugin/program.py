"""Where the program `hyseg` is, and the environment that it runs in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Mapping

VARIABLE = "HYSEG"
"""Environment variable with the path of the program."""
INSTALLED = Path(__file__).with_name("program.json")
"""What `hyseg qgis install` writes: the words that start the program it was called as."""
SETTING_PLACE = "Settings > Options > Processing > Providers > hyseg > Path of hyseg"

HOW_TO_INSTALL = (
    "Install hyseg in a virtual environment of its own, then let it install this plugin, "
    "which makes its path known:\n"
    "  python -m venv hyseg-env\n"
    "  hyseg-env/bin/pip install hyseg        (Windows: hyseg-env\\Scripts\\pip)\n"
    "  hyseg-env/bin/hyseg qgis install       (Windows: hyseg-env\\Scripts\\hyseg)\n"
    f"or set the path: {SETTING_PLACE}."
)

_OF_QGIS = ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH")
"""Variables by which QGIS leads its own Python and GDAL; they would lead hyseg's astray."""


class ProgramMissingError(Exception):
    """There is no program to run; the text says what to do."""


def find_program(
    chosen: str = "",
    environment: Mapping[str, str] | None = None,
    installed: Path = INSTALLED,
) -> list[str]:
    """The words that start hyseg.

    Looked for in this order: the setting of QGIS, the variable HYSEG, what `hyseg qgis install`
    wrote, PATH.

    Args:
        chosen: The setting: a program, or a virtual environment with one; empty for none.
        environment: Environment variables; None for those of this process.
        installed: The file that `hyseg qgis install` wrote.

    Raises:
        ProgramMissingError: If there is none, or none where the setting or the variable says.
    """
    known = os.environ if environment is None else environment
    for place, path in (
        (f"The setting {SETTING_PLACE}", chosen),
        (f"The variable {VARIABLE}", known.get(VARIABLE, "")),
    ):
        if path.strip():
            return [_program_at(path.strip(), place)]
    found = _installed_program(installed) or _on_path(known)
    if not found:
        raise ProgramMissingError(f"The program hyseg was not found. {HOW_TO_INSTALL}")
    return found


def clean_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for hyseg: without what leads QGIS's Python, GDAL and PROJ; UTF-8."""
    known = os.environ if environment is None else environment
    kept = {
        name: value
        for name, value in known.items()
        if name.upper() not in _OF_QGIS and not name.upper().startswith("PROJ_")
    }
    return {**kept, "PYTHONUTF8": "1"}


def _program_at(path: str, place: str) -> str:
    """The program that a path means, itself or the environment it is installed in."""
    given = Path(path).expanduser()
    for candidate in (given, given / "bin" / "hyseg", given / "Scripts" / "hyseg.exe"):
        if candidate.is_file() and os.access(str(candidate), os.X_OK):
            return str(candidate)
    raise ProgramMissingError(
        f"{place} says {path}, but there is no program hyseg. {HOW_TO_INSTALL}"
    )


def _installed_program(path: Path) -> list[str]:
    """The words in a file, or none if the file or the program they start is not there."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    is_there = bool(words) and all(isinstance(word, str) for word in words)
    return words if is_there and Path(words[0]).is_file() else []


def _on_path(environment: Mapping[str, str]) -> list[str]:
    found = shutil.which("hyseg", path=environment.get("PATH", ""))
    return [found] if found else []
