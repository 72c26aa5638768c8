"""Chips with the features that a frozen backbone sees in them, computed once and kept on the disk.

A training with a frozen backbone asks it for the same again and again. Instead, a pool of chips
as augmented as any (each turned, mirrored, scaled and coloured in its own way) is run through the
backbone once, and the steps go round the pool in an ever new order; a step then costs what the
decoder costs.

Chips lie in files of `CHIPS_PER_FILE`, features in half precision, in a folder that is named for
all that decides what they are (`key_of`). The SHA-256 of each file stands in `index.jsonl`: one
that is missing or damaged is computed again, so that a training that goes on, or a second one on
the same images, finds what is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.atomic import replacing
from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.inference.precision import Precision
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_models import HySeg
from hyseg_models.blocks.backbones import Backbone

CHIPS_PER_FILE = 8
INDEX = "index.jsonl"
PREFIX = "features."
"""Of the names of features among the tensors of a sample, which are numbered from 0."""
_LARGEST_HALF = 65504.0
"""Number that half precision holds."""

Tick = Callable[[int, int], None]
"""Hears how many files of how many are there; may raise, to stop."""


def features_of(sample: Sample) -> list[Tensor] | None:
    """The features in a batch, in single precision; None if it has none."""
    found: list[Tensor] = []
    while (level := sample.get(f"{PREFIX}{len(found)}")) is not None:
        found.append(level.float())
    return found or None


class FeatureChips(Dataset[Sample]):
    """Chips with their features, taken from a pool on the disk.

    Chip i of a seed is always the same. With `shuffled` each round takes all chips of the pool in
    an order of its own; otherwise chip i is chip i of the pool.

    Args:
        folder: Where the pool lies; made if need be.
        pool: The chips; chip i must always be the same. The first `size` are used.
        size: Chips of the pool.
        count: Chips of this data set.
        seed: Of the orders; None to keep the pool's.
    """

    def __init__(
        self,
        folder: Path,
        pool: Dataset[Sample],
        *,
        size: int,
        count: int,
        seed: int | None,
    ) -> None:
        self.folder = folder
        self.pool = pool
        self.size = size
        self.count = count
        self.seed = seed
        self.first = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index >= self.count:
            raise IndexError(index)
        number, place = divmod(self._in_pool(index), CHIPS_PER_FILE)
        path = self._path(number)
        try:
            with safe_open(path, framework="pt") as file:
                kinds = json.loads(file.metadata()["kinds"])
                return {
                    name: _restored(file.get_slice(name)[place : place + 1][0], kinds[name])
                    for name in file.keys()  # noqa: SIM118 - no mapping
                }
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise HysegError(
                f"{path}: kept features cannot be read ({error})",
                hint="Go on with `resume`: what is damaged is computed again.",
            ) from error

    def place(self, index: int) -> str:
        """Scene and window that a chip is cut from, as far as the pool can say."""
        where = getattr(self.pool, "place", None)
        inside = self._in_pool(index)
        return f"chip {inside} of the pool" if where is None else str(where(inside))

    def _in_pool(self, index: int) -> int:
        """The chip of the pool that chip `first + index` of the training is."""
        if self.seed is None:
            return index
        around, at = divmod(self.first + index, self.size)
        return int(np.random.default_rng((self.seed, around)).permutation(self.size)[at])

    def fill(
        self,
        network: HySeg,
        standardise: Standardise,
        device: torch.device,
        tick: Tick,
        *,
        precision: Precision = "float32",
    ) -> int:
        """Compute what is not there yet; how many files that were.

        Raises:
            HysegError: If the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Another training on the same images may be at it.
            with FileLock(self.folder / "lock"):
                return self._fill(_Seeing(network, standardise, device, precision), tick)
        except (OSError, SafetensorError) as error:
            raise HysegError(
                f"{self.folder}: features cannot be kept ({error})",
                hint="Free some space, or bound it with `feature_space`; 0 keeps none.",
            ) from error
        finally:
            network.backbone.cpu()

    def _fill(self, see: _Seeing, tick: Tick) -> int:
        numbers = range(-(-self.size // CHIPS_PER_FILE))
        known = self._checked()
        missing = [number for number in numbers if number not in known]
        for done, number in enumerate(missing):
            tick(len(numbers) - len(missing) + done, len(numbers))
            self._write(number, see)
        return len(missing)

    def _checked(self) -> set[int]:
        """Numbers of the files that are whole."""
        entries = list(_entries(self.folder / INDEX))
        whole = {entry["file"]: entry["sha256"] for entry in entries}
        return {number for number, digest in whole.items() if self._is_whole(number, digest)}

    def _is_whole(self, number: int, digest: str) -> bool:
        path = self._path(number)
        return path.is_file() and _sha256(path) == digest

    def _write(self, number: int, see: _Seeing) -> None:
        start = number * CHIPS_PER_FILE
        chips = [self.pool[i] for i in range(start, min(start + CHIPS_PER_FILE, self.size))]
        batch = {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}
        batch |= {f"{PREFIX}{i}": level for i, level in enumerate(see(batch))}
        kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in batch.items()}
        path = self._path(number)
        with replacing(path) as temporary:
            save_file(
                {name: _stored(tensor) for name, tensor in batch.items()},
                temporary,
                metadata={"kinds": json.dumps(kinds)},
            )
            digest = _sha256(temporary)
        self._note({"file": number, "sha256": digest})

    def _note(self, entry: dict[str, Any]) -> None:
        with (self.folder / INDEX).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _path(self, number: int) -> Path:
        return self.folder / f"chips-{number:06}.safetensors"


class _Seeing:
    """Runs the backbone on chips; what it sees, in half precision."""

    def __init__(
        self,
        network: HySeg,
        standardise: Standardise,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.is_half = precision == "bfloat16"
        self.backbone = network.backbone.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.standardise = standardise.to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, batch: Sample) -> list[Tensor]:
        # `has_band` is there where bands may be missing.
        inputs = [batch[name] for name in ("image", "valid", "has_band") if name in batch]
        image = self.standardise(*(values.to(self.device) for values in inputs))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half):
            levels = self.backbone(image.contiguous(memory_format=torch.channels_last))
        return [level.float().clamp(-_LARGEST_HALF, _LARGEST_HALF).half().cpu() for level in levels]


class _Aside(Backbone):
    """Stands where a backbone stood whose features are known."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.strides, self.channels = backbone.strides, backbone.channels

    def forward(self, _image: Tensor) -> list[Tensor]:
        message = "the backbone is put aside: features are to be given"
        raise RuntimeError(message)


@contextmanager
def backbone_aside(network: HySeg) -> Iterator[None]:
    """Take the backbone out of a network whose features are known.

    Nothing averages, stores or moves it then.
    """
    backbone = network.backbone
    network.backbone = _Aside(backbone)
    try:
        yield
    finally:
        network.backbone = backbone


def bytes_per_chip(network: HySeg, side: int) -> int:
    """What a square chip of 8-bit values takes with its features, about."""
    levels = zip(network.backbone.strides, network.backbone.channels, strict=True)
    features = sum(channels * (side // stride) ** 2 for stride, channels in levels)
    return 2 * features + (network.config.bands + 2) * side**2


def key_of(network: HySeg, standardise: Standardise, chips: Sequence[Any]) -> str:
    """A digest of the backbone, of the values it is shown, and of what decides on chips."""
    digest = hashlib.sha256(json.dumps(chips, sort_keys=True, default=str).encode())
    for module in (network.backbone, standardise):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _entries(index: Path) -> Iterator[Any]:
    """Lines of an index, as far as they are whole."""
    if not index.is_file():
        return
    for line in index.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # a run was killed in the middle of it
            return


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stored(tensor: Tensor) -> Tensor:
    """Whole numbers from 0 to 255, such as labels, as bytes."""
    if tensor.dtype == torch.int64 and int(tensor.min()) >= 0 and int(tensor.max()) <= 255:
        tensor = tensor.to(torch.uint8)
    return tensor.contiguous()


def _restored(tensor: Tensor, kind: str) -> Tensor:
    return tensor.to(getattr(torch, kind))
