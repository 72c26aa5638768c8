"""Find models by path, or by the name of a built-in or an installed one.

A name is looked for in the package first, so that `default` means the same everywhere, then in
the folders of `HYSEG_MODELS`, then in the user's own. Nothing here loads torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from hyseg_cli.errors import UsageProblemError

SUFFIX = ".safetensors"
DEFAULT = "default"
"""Name of the model that is used where none is chosen."""
FOLDERS = "HYSEG_MODELS"
"""Environment variable with folders of models, separated as in PATH."""
_HEADER_LIMIT = 100_000_000
"""Bytes that the header of a safetensors file has at most, by that format's specification."""


@dataclass(frozen=True)
class ModelFile:
    """A model that can be chosen by name."""

    name: str
    path: Path
    is_built_in: bool
    is_hidden: bool
    """Whether another model of the same name is found before it."""


def model_folders() -> tuple[Path, ...]:
    """Folders that are searched for names, in this order; they need not exist.

    Those of `HYSEG_MODELS`, then `hyseg/models` in the user's data folder (`XDG_DATA_HOME`).
    """
    named = [Path(part) for part in os.environ.get(FOLDERS, "").split(os.pathsep) if part]
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # the XDG specification says to ignore relative ones
        data = Path.home() / ".local" / "share"
    return tuple(dict.fromkeys([*named, data / "hyseg" / "models"]))


def list_models() -> tuple[ModelFile, ...]:
    """All models with a name, the built-in ones first, each folder in the order of names."""
    built_in = _built_in_folder()
    found: list[ModelFile] = []
    taken: set[str] = set()
    for folder in (built_in, *model_folders()):
        for path in _models_in(folder):
            name = path.name.removesuffix(SUFFIX)
            found.append(ModelFile(name, path, folder == built_in, name in taken))
            taken.add(name)
    return tuple(found)


def find_model(model: str | Path | None) -> Path:
    """The file of a model that was chosen.

    Args:
        model: A path, which has a `/` or ends in `.safetensors`, or a name; None for the
            built-in default.

    Returns:
        The path as it was given, whether it exists or not, or that of the model with the name.

    Raises:
        UsageProblemError: If no model has the name.
    """
    chosen = DEFAULT if model is None else str(model)
    if is_path(chosen):
        return Path(chosen)
    known = {file.name: file.path for file in list_models() if not file.is_hidden}
    if chosen in known:
        return known[chosen]
    if Path(chosen).is_file():
        return Path(chosen)
    near = get_close_matches(chosen, known)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UsageProblemError(
        f"no model is called {chosen!r}, and there is no such file",
        hint=f"{meant}`hyseg models list` shows the names; files end in {SUFFIX}.",
    )


def require_file(path: Path) -> None:
    """Refuse a model file that does not exist.

    Raises:
        UsageProblemError: If it is not.
    """
    if not path.is_file():
        raise UsageProblemError(
            f"{path}: no such model file",
            hint=f"Give a {SUFFIX} file, or a name that `hyseg models list` shows.",
        )


def is_path(model: str) -> bool:
    """Whether a model is chosen by its path, not by its name."""
    has_folder = os.sep in model or (os.altsep is not None and os.altsep in model)
    return has_folder or model.lower().endswith(SUFFIX)


def is_built_in(path: Path) -> bool:
    """Whether a file is one of the package's own models."""
    return path.resolve().parent == _built_in_folder().resolve()


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors files do: the length of a header, and its brace."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = path.stat().st_size
    except (OSError, ValueError):
        return False
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length <= min(size - 8, _HEADER_LIMIT)


def _built_in_folder() -> Path:
    return Path(str(files("hyseg_cli").joinpath("weights")))


def _models_in(folder: Path) -> list[Path]:
    try:
        return sorted(
            path for path in folder.iterdir() if path.name.endswith(SUFFIX) and path.is_file()
        )
    except OSError:  # most users have no such folder; unreadable folders count as empty
        return []
