"""What an experiment trains: its rows, splits and seeds, read from a TOML file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from hyseg_models import ConfigError, HySegConfig, preset

OWN, ENCODER, NONE = "own", "encoder", "none"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    preset: str
    prior: str
    """`own`, `encoder`, `none`, or the name of the row whose model is used."""


@dataclass(frozen=True)
class Plan:
    """An experiment."""

    title: str
    against: str
    """The row that the others are compared with."""
    size: str
    """Preset on which those of the rows are based."""
    seeds: tuple[int, ...]
    train: dict[str, int | float | str]
    """Options of `hyseg train`, without their dashes."""
    splits: dict[str, tuple[str, ...]]
    """Scenes held out, by name of the split."""
    rows: tuple[Row, ...]

    def runs(self) -> Iterator[Run]:
        """Every training of the experiment; all rows of one seed come before the next seed."""
        for seed in self.seeds:
            for split in self.splits:
                for row in self.rows:
                    yield Run(self, row, split, seed)


@dataclass(frozen=True)
class Run:
    """One training and its measurement."""

    plan: Plan
    row: Row
    split: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's files."""
        row = "".join(c if c.isalnum() else "-" for c in self.row.name).strip("-")
        return f"{row}_{self.split}_{self.seed}_{_digest(self.settings())}"

    def find(self, folder: Path) -> Path | None:
        """The scores of this run in a folder, by name, or by what a file says that it is.

        The name holds a digest of all settings, and grows another with each setting that later
        versions add; the settings of an older file mean what their defaults mean.
        """
        exact = folder / f"{self.name}.json"
        if exact.is_file():
            return exact
        stem = self.name.rpartition("_")[0]
        return next(
            (path for path in sorted(folder.glob(f"{stem}_*.json")) if self._is(path)), None
        )

    def _is(self, path: Path) -> bool:
        values = json.loads(path.read_text())
        own = self.settings()
        same = all(values.get(key) == own[key] for key in ("prior", "train", "held_out", "seed"))
        try:
            return same and HySegConfig.from_dict(values["config"]) == _config(self.preset)
        except (KeyError, ConfigError):
            return False

    @property
    def preset(self) -> str:
        """The preset of the network."""
        return f"{self.plan.size}+{self.row.preset}"

    @property
    def prior_preset(self) -> str:
        """The preset of the prior that the run starts from, the same for all that can share it."""
        size = self.plan.size
        wanted = _config(size if self.row.prior == ENCODER else self.preset).prior
        presets = (size, *(f"{size}+{row.preset}" for row in self.plan.rows))
        return next(name for name in presets if _config(name).prior == wanted)

    @property
    def prior_name(self) -> str:
        """Name of the prior's model file, the same for all runs that can share it."""
        recipe = {k: v for k, v in self.plan.train.items() if k not in ("steps", "rate")}
        parts = [asdict(_config(self.prior_preset).prior), recipe, self.held_out]
        return f"prior_{self.split}_{self.seed}_{_digest(parts)}"

    @property
    def is_oracle(self) -> bool:
        """Whether the network uses the labels as its prior."""
        return _config(self.preset).head.prior == "gt"

    @property
    def held_out(self) -> tuple[str, ...]:
        """The scenes that are measured."""
        return self.plan.splits[self.split]

    def donor(self) -> Run:
        """The run whose model serves as the prior of this one."""
        row = next(row for row in self.plan.rows if row.name == self.row.prior)
        return Run(self.plan, row, self.split, self.seed)

    def settings(self) -> dict[str, object]:
        """Everything that determines the result."""
        return {
            "preset": self.preset,
            "config": _config(self.preset).to_dict(),
            "prior": self.row.prior,
            "train": self.plan.train,
            "held_out": list(self.held_out),
            "seed": self.seed,
        }


def read_plan(path: Path) -> Plan:
    """The experiment in a TOML file.

    Raises:
        click.UsageError: If a key is missing, or a preset or row does not exist.
    """
    try:
        values = tomllib.loads(path.read_text())
        plan = Plan(
            title=values["title"],
            against=values["against"],
            size=values["size"],
            seeds=tuple(values["seeds"]),
            train=values["train"],
            splits={name: tuple(scenes) for name, scenes in values["splits"].items()},
            rows=tuple(
                Row(name, row["preset"], row.get("prior", OWN))
                for name, row in values["rows"].items()
            ),
        )
        for run in plan.runs():
            _config(run.preset)
    except (KeyError, ConfigError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: {error}") from error
    names = [row.name for row in plan.rows]
    wanted = {row.prior for row in plan.rows} | {plan.against}
    if strange := sorted(wanted - {*names, OWN, ENCODER, NONE}):
        raise click.UsageError(f"{path}: no row is called {', '.join(strange)}")
    return plan


def _config(name: str) -> HySegConfig:
    return preset(name)


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
