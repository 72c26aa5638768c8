"""Tokens of a frozen transformer, kept on disk by what they were computed from.

Training, mapping and suggesting look at a scene in the same tiles, so that what one of them has
computed serves the others. The key is a digest of the pixels as the transformer sees them, of its
weights and of the way it runs: no scene can be taken for another, however its file is called.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyseg_models import HySeg
from hyseg_models.tokens.scaled import ScaledTokens

FOLDER_BYTES = 4 * 2**30
"""Largest size of the folder of kept tokens; those that were not used for longest go first."""
MAP_BYTES = 2**29
"""Most that a run keeps which maps whole scenes: about 12 megapixels."""
_SPENDING = threading.Lock()
"""Not one for each object: networks that hold them are copied."""


class KeptTokens:
    """Gives tokens of images from disk, or has them computed and keeps them.

    Mutable; several threads may call it.

    Args:
        tokens: The transformer; its weights do not change any more.
        folder: Where tokens are kept.
        most: Bytes that are written at most. What is there is read nevertheless.
    """

    def __init__(self, tokens: ScaledTokens, folder: Path, most: int) -> None:
        self._network = digest_of(tokens)
        self._folder = folder
        self._left = most

    def __call__(self, pixels: Tensor, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Tokens of some pixels: kept ones, or those that `compute` gives."""
        path = self._path(pixels)
        found = _read(path)
        if found is None:
            found = compute()
            if self._may_keep(sum(level.nbytes for level in found)):
                _keep(path, found)
                make_room(self._folder)
        return found

    def _may_keep(self, size: int) -> bool:
        with _SPENDING:
            is_affordable = size <= self._left
            self._left -= size * is_affordable
        return is_affordable

    def has(self, pixels: Tensor) -> bool:
        """Whether tokens of these pixels (1, 3, H, W) need not be computed."""
        return self._path(pixels).is_file()

    def _path(self, pixels: Tensor) -> Path:
        key = hashlib.blake2b(self._network, digest_size=16)
        key.update(f"{tuple(pixels.shape)} {pixels.dtype} {_way_to_run()}".encode())
        key.update(pixels.contiguous().numpy().tobytes())
        return self._folder / f"{key.hexdigest()}.safetensors"


def keep_tokens(network: HySeg, device: torch.device, most: int = FOLDER_BYTES) -> None:
    """Let a network keep the tokens of its frozen transformer, if it has one and a CPU runs it.

    A GPU computes them in less time than a disk gives them.
    """
    if isinstance(network.backbone, ScaledTokens) and device.type == "cpu":
        network.backbone.recall = KeptTokens(network.backbone, feature_folder(), most)


def feature_folder() -> Path:
    """Where tokens are kept: `hyseg/features` in the user's cache (`XDG_CACHE_HOME`)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "hyseg" / "features"


def digest_of(tokens: ScaledTokens) -> bytes:
    """A digest of all that tokens depend on beside the image: weights and settings."""
    digest = hashlib.blake2b(repr(tokens.config).encode())
    for name, weight in sorted(tokens.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _way_to_run() -> str:
    """What the last digits of tokens depend on: format, kind of processor, version."""
    is_half = torch.is_autocast_enabled("cpu")
    kind = torch.get_autocast_dtype("cpu") if is_half else torch.float32
    return f"{kind} {torch.backends.cpu.get_cpu_capability()} {torch.__version__}"


def make_room(folder: Path, limit: int = FOLDER_BYTES) -> None:
    """Remove the tokens that were not used for longest until the others fit."""
    entries = sorted(_entries(folder), reverse=True)
    total = 0
    for _, size, path in entries:
        total += size
        if total > limit:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterable[tuple[float, int, Path]]:
    for path in folder.glob("*.safetensors"):
        try:
            status = path.stat()
        except OSError:
            continue  # another run has just removed it
        yield status.st_mtime, status.st_size, path


def _read(path: Path) -> list[Tensor] | None:
    """Kept tokens; None if there are none or they are damaged."""
    try:
        found = load_file(path)
        os.utime(path)
        return [found[f"tokens.{index}"] for index in range(len(found))]
    except (OSError, SafetensorError, ValueError, KeyError):
        return None


def _keep(path: Path, levels: list[Tensor]) -> None:
    """Write tokens by a temporary name; a full disk costs the next run time and no more."""
    temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
    named = {f"tokens.{index}": level.contiguous() for index, level in enumerate(levels)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(named, temporary)
        temporary.replace(path)
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
