"""Checkpoints of a running training: tensors in a safetensors file, the rest as JSON in its header.

Lightning passes one nested dictionary. Its tensors are stored under numbers, and the rest refers to
them by number; tuples and keys other than strings are marked, so that the dictionary
comes back as it was. Nothing is ever pickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.atomic import replacing

_TREE = "hyseg_checkpoint"
_TENSOR, _TUPLE, _ITEMS = "__tensor__", "__tuple__", "__items__"


class SafetensorsIO(CheckpointIO):
    """How the trainer saves and loads checkpoints."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any = None,  # noqa: ARG002 - the interface has it
    ) -> None:
        """Write a checkpoint by a temporary name: the last good one survives a full disk.

        Raises:
            HysegError: If it cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        tree = json.dumps(_pack(checkpoint, tensors))
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                save_file(tensors, temporary, metadata={_TREE: tree})
        except (OSError, SafetensorError) as error:
            raise HysegError(
                f"{target}: the checkpoint cannot be written ({error})",
                hint="Free some space and continue with `resume`; the last checkpoint is whole.",
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,  # noqa: ARG002 - the interface has it
        weights_only: bool | None = None,  # noqa: ARG002, FBT001
    ) -> dict[str, Any]:
        """The checkpoint as it was saved, on the CPU.

        Raises:
            HysegError: If the file is damaged or not a checkpoint of hyseg.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tree = json.loads((file.metadata() or {})[_TREE])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise HysegError(
                f"{path}: not a complete checkpoint ({error})",
                hint="Train again without `resume`.",
            ) from error
        checkpoint: dict[str, Any] = _unpack(tree, tensors)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A clone: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _pack(item, tensors) for key, item in value.items()}
        return {_ITEMS: [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    message = f"a checkpoint cannot hold a {type(value).__name__}"
    raise TypeError(message)


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_unpack(item, tensors) for item in value[_TUPLE])
    if _ITEMS in value:
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in value[_ITEMS]}
    return {key: _unpack(item, tensors) for key, item in value.items()}
