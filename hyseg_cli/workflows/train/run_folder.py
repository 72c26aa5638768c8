"""The folder beside a model file with the state from which its training can continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hyseg_cli.errors import HysegError, OutputExistsError, StateMismatchError
from hyseg_cli.geo.atomic import replacing
from hyseg_cli.learn.inference.precision import Precision, choose_precision
from hyseg_cli.settings.train import TrainSettings

MANIFEST = "run.json"
LOCK = "run.lock"
"""Held by the training at work; the system frees it when that ends, however it ends."""
CLEARING = "clearing"
"""Is there while an earlier run is deleted: what is left of it cannot be continued."""
PRECISION = "precision.txt"
FREE = frozenset(
    {
        "resume",
        "overwrite",
        "dry_run",
        "device",
        "devices",
        "workers",
        "save_every",
        "tensorboard",
        "loggers",
        "feature_folder",
    }
)
"""Settings that do not change what is learned."""


class RunFolder:
    """`NAME.run`: logs, checkpoints, the model after stage 1, and the settings of the run.

    A folder can be used by one training at a time; the system frees it if that is killed.

    Args:
        settings: The training; its output names the folder.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.path = settings.out.with_suffix(".run")
        self.prior = self.path / "prior.safetensors"
        """The model after stage 1."""
        self._settings = settings
        self._lock = FileLock(self.path / LOCK)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep other trainings off the folder, unchanged to continue, emptied to start over.

        Raises:
            OutputExistsError: If the run to continue had other settings, or there is a run that
                may be neither continued nor overwritten.
            StateMismatchError: If another training is at work in it.
            HysegError: If the folder cannot be written.
        """
        try:
            self._begin()
            yield
        finally:
            self._lock.release()

    def _begin(self) -> None:
        own = _plain(self._settings)
        manifest = self.path / MANIFEST
        try:
            self._take()
            is_whole = manifest.is_file() and not (self.path / CLEARING).exists()
            if self._settings.resume and is_whole:
                known = json.loads(manifest.read_text(encoding="utf-8"))
                _require_same(_with_later_settings(known, own), own, self.path)
                if "precision" not in known:
                    (self.path / PRECISION).write_text("float32", encoding="utf-8")
                return
            if is_whole and not self._settings.overwrite:
                raise OutputExistsError(
                    f"{self.path} holds a training that was stopped",
                    hint="Continue with `resume`, or start over with `overwrite`.",
                )
            self._clear()
            with replacing(manifest) as temporary:
                temporary.write_text(json.dumps(own, indent=1), encoding="utf-8")
            (self.path / CLEARING).unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            raise HysegError(
                f"{self.path}: the run folder cannot be used ({error})",
                hint="Check the permissions and the free space, or train without `resume`.",
            ) from error

    def precision(self, device_type: str) -> Precision:
        """The format in which this run computes: the one that it began with, if it goes on."""
        settings, path = self._settings, self.path / PRECISION
        is_shared = settings.devices > 1
        if path.is_file() and settings.precision == "auto":
            known = path.read_text(encoding="utf-8").strip()
            return "bfloat16" if known == "bfloat16" else "float32"
        chosen = choose_precision(settings.precision, device_type, is_shared=is_shared)
        if self.path.is_dir():
            with replacing(path) as temporary:
                temporary.write_text(chosen, encoding="utf-8")
        return chosen

    def _take(self) -> None:
        """Make the folder, or lock the one that a training has made."""
        marks = [(self.path / name).is_file() for name in (MANIFEST, LOCK, CLEARING)]
        if self.path.exists() and not any(marks) and any(self.path.iterdir()):
            raise OutputExistsError(
                f"{self.path} exists already, and no training wrote it",
                hint="Move it away, or use another `out`.",
            )
        self.path.mkdir(exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StateMismatchError(
                f"{self.path} is in use by another training",
                hint="Wait for it to end, or use another `out`.",
            ) from error

    def _clear(self) -> None:
        """Delete everything but the lock."""
        entries = [entry for entry in self.path.iterdir() if entry.name != LOCK]
        if not entries:
            return
        (self.path / CLEARING).touch()
        for entry in entries:
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != CLEARING:
                entry.unlink()


def _plain(settings: TrainSettings) -> dict[str, Any]:
    """The settings that matter, as read back from JSON."""
    values = {key: value for key, value in asdict(settings).items() if key not in FREE}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def _with_later_settings(known: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a run that an earlier version began would have recorded: later settings as usual.

    Its precision was float32, which `auto` then means, too.
    """
    usual = {
        field.name: field.default for field in fields(TrainSettings) if field.default is not MISSING
    }
    usual = {name: value for name, value in usual.items() if name not in FREE}
    usual["precision"] = "auto" if own["precision"] == "auto" else "float32"
    earlier: dict[str, Any] = json.loads(json.dumps(usual, default=str)) | known
    if isinstance(earlier["unfreeze"], bool):  # it was a flag until 0.2.0
        earlier["unfreeze"] = "all" if earlier["unfreeze"] else "none"
    return earlier


def _require_same(known: dict[str, Any], own: dict[str, Any], folder: Path) -> None:
    for key in sorted(known.keys() | own.keys()):
        if known.get(key) != own.get(key):
            raise OutputExistsError(
                f"{folder} has another `{key}`: {known.get(key)}, not {own.get(key)}",
                hint="Give the same settings, or start over with `overwrite` and no `resume`.",
            )
