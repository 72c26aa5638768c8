"""`hyseg models`: the models that can be chosen by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.model.locate import (
    ModelFile,
    find_model,
    list_models,
    model_folders,
    require_file,
)

if TYPE_CHECKING:
    # It loads numpy, which paths do not need.
    from hyseg_cli.learn.model.card import ModelCard


@dataclass(frozen=True)
class ListedModel:
    """A model with its card, or with its problem."""

    file: ModelFile
    size: int
    """Bytes."""
    card: ModelCard | None
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        values: dict[str, Any] = {
            "name": self.file.name,
            "path": str(self.file.path),
            "built_in": self.file.is_built_in,
            "hidden": self.file.is_hidden,
            "bytes": self.size,
            "problem": self.problem,
        }
        if self.card is not None:
            values |= {
                "classes": list(self.card.legend.names),
                "bands": list(self.card.bands),
                "resolution_m": self.card.resolution_m,
                "licence": self.card.data.licence,
                "has_segmentation": self.card.has_segmentation,
            }
        return values

    def to_lines(self) -> list[str]:
        """A description for people."""
        kind = "built in" if self.file.is_built_in else str(self.file.path)
        remark = "; hidden by another of this name" if self.file.is_hidden else ""
        lines = [f"{self.file.name} ({self.size / 1e6:.1f} MB, {kind}{remark})"]
        if self.card is None:
            return [*lines, f"  cannot be used: {self.problem}"]
        return [
            *lines,
            f"  classes     {', '.join(self.card.legend.names)}",
            f"  bands       {self.card.bands_text} ({self.card.dtype})",
            f"  pixels      {self.card.pixels_text}",
        ]


@dataclass(frozen=True)
class Models:
    """All models with a name, and the folders searched."""

    models: tuple[ListedModel, ...]
    folders: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "models": [model.to_dict() for model in self.models],
            "folders": [str(folder) for folder in self.folders],
        }

    def to_text(self) -> str:
        """A list for people."""
        lines = [line for model in self.models for line in model.to_lines()]
        return "\n".join([*lines, "folders", *(f"  {folder}" for folder in self.folders)])


def run() -> Models:
    """Find all models; one that cannot be used is listed with its problem."""
    return Models(tuple(_listed(file) for file in list_models()), model_folders())


def paths_of(model: Path | None) -> tuple[Path, ...]:
    """The file of a model, or the folders that are searched for names.

    Raises:
        UsageProblemError: If there is no such model.
    """
    if model is None:
        return model_folders()
    found = find_model(model)
    require_file(found)
    return (found.absolute(),)


def _listed(file: ModelFile) -> ListedModel:
    from hyseg_cli.learn.model.card import read_card

    size = file.path.stat().st_size
    try:
        return ListedModel(file, size, read_card(file.path), None)
    except HysegError as error:
        return ListedModel(file, size, None, error.message)
