"""`hyseg models add` and `pack`: models that somebody publishes, with a checksum.

Only safetensors files are opened, which hold no code. Nothing is fetched unless asked for, and what
is fetched counts for nothing before its checksum is right.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hyseg_cli import __version__
from hyseg_cli.errors import (
    CheckFailedError,
    HysegError,
    OutputExistsError,
    UnusableFileError,
    UsageProblemError,
)
from hyseg_cli.geo.atomic import folder_beside, move
from hyseg_cli.learn.model.card import ModelCard, read_card
from hyseg_cli.learn.model.locate import (
    SUFFIX,
    find_model,
    list_models,
    model_folders,
    require_file,
)
from hyseg_cli.workflows.outputs import require_free, write_bytes

PACK_SUFFIX = ".zip"
SUMS = "SHA256SUMS"
_CHUNK = 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SECONDS_WITHOUT_ANSWER = 60
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class AddedModel:
    """A model that now has a name."""

    name: str
    path: Path
    sha256: str
    """Of the model file."""
    card: ModelCard

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "name": self.name,
            "path": str(self.path),
            "sha256": self.sha256,
            "classes": list(self.card.legend.names),
            "licence": self.card.data.licence,
        }

    def to_text(self) -> str:
        """What it is and how to use it."""
        return "\n".join(
            [
                str(self.path),
                f"classes  {', '.join(self.card.legend.names)}",
                f"licence  {self.card.data.licence or 'not stated'}",
                f"sha256   {self.sha256}",
                f"Use it with `model` {self.name}.",
            ]
        )


@dataclass(frozen=True)
class PackedModel:
    """A model made ready to be published."""

    path: Path
    sha256: str
    """Of the pack."""
    missing: tuple[str, ...]
    """What the card does not say and users ask for."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {"path": str(self.path), "sha256": self.sha256, "missing": list(self.missing)}

    def to_text(self) -> str:
        """The pack and its checksum, as people need it to add the model."""
        return f"{self.path}\nsha256 {self.sha256}"


def add(
    source: str, *, name: str | None = None, sha256: str | None = None, overwrite: bool = False
) -> AddedModel:
    """Give a model a name: copy it into the first folder of models.

    Args:
        source: A model file, a pack, or the address of one (https or http).
        name: The name; None for that of the file.
        sha256: Checksum of the file at `source`, which an address needs.
        overwrite: Replace a model of this name.

    Raises:
        UsageProblemError: If there is no such file, a name cannot be used, or no checksum is given.
        CheckFailedError: If the checksum is another.
        OutputExistsError: If the name is taken.
        UnusableFileError: If it is not a model.
        HysegError: If it cannot be fetched or written.
    """
    is_address = re.match(r"[a-z][a-z0-9+.-]*://", source) is not None
    if is_address and sha256 is None:
        raise UsageProblemError(
            f"{source}: what is fetched needs a checksum",
            hint="Add `sha256` with the checksum that the publisher states.",
        )
    folder = model_folders()[0]
    given = name or _name_in(source)
    _require_name(given, folder, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{given}{SUFFIX}"
        with folder_beside(path) as made:
            fetched = made / "fetched"
            with _opened(source, is_address=is_address) as stream:
                digest = _copy(stream, fetched)
            _require_digest(source, digest, sha256)
            model = _unpacked(fetched, source)
            card = read_card(model)
            digest = _digest(model)
            move(model, path)
    except OSError as error:
        raise HysegError(
            f"{source} cannot be added to {folder} ({error})",
            hint="Check the address, the folder's permissions and the free space.",
        ) from error
    return AddedModel(given, path, digest, card)


def pack(
    model: Path, out: Path, *, picture: Path | None = None, overwrite: bool = False
) -> PackedModel:
    """Make a model ready to be published: weights, card, notice, picture and checksums in a zip.

    The bytes depend on the model and the picture alone.

    Args:
        model: A file or a name.
        out: The zip.
        picture: A map that the model made, to show; None for none.
        overwrite: Replace the zip.

    Raises:
        UsageProblemError: If a file is not there or has another type than it should.
        OutputExistsError: If the zip exists.
        HysegError: One of its kinds, if the model is damaged or the zip cannot be written.
    """
    if out.suffix.lower() != PACK_SUFFIX:
        raise UsageProblemError(
            f"`out` {out} does not end in {PACK_SUFFIX}", hint="A pack is a zip: write .zip."
        )
    require_free(out, overwrite=overwrite)
    path = find_model(model)
    require_file(path)
    card = read_card(path)
    contents = {
        path.name.removesuffix(SUFFIX) + SUFFIX: path.read_bytes(),
        "card.json": (json.dumps(json.loads(card.to_json()), indent=1) + "\n").encode(),
        "README.md": _readme(path.name.removesuffix(SUFFIX), card).encode(),
        "NOTICE": _notice(card).encode(),
    }
    if picture is not None:
        contents[f"picture{picture.suffix.lower()}"] = _read_picture(picture)
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in contents.items()]
    contents[SUMS] = ("\n".join(sums) + "\n").encode()
    packed = _zip_of(contents)
    write_bytes(out, packed)
    return PackedModel(out, hashlib.sha256(packed).hexdigest(), tuple(_missing(card)))


# ---- adding -----------------------------------------------------------------------------------


def _name_in(source: str) -> str:
    last = re.split(r"[/\\]", source.partition("?")[0])[-1]
    return re.sub(rf"({re.escape(SUFFIX)}|{re.escape(PACK_SUFFIX)})$", "", last)


def _require_name(name: str, folder: Path, *, overwrite: bool) -> None:
    if _NAME.fullmatch(name) is None:
        raise UsageProblemError(
            f"{name!r} cannot be the name of a model",
            hint="Choose letters, digits, dots, dashes and underscores with `name`.",
        )
    if name in {file.name for file in list_models() if file.is_built_in}:
        raise UsageProblemError(
            f"{name!r} is the name of a built-in model", hint="Choose another one with `name`."
        )
    path = folder / f"{name}{SUFFIX}"
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already", hint="Choose another `name`, or `overwrite`."
        )


@contextmanager
def _opened(source: str, *, is_address: bool) -> Iterator[IO[bytes]]:
    if not is_address:
        path = Path(source).expanduser()
        if not path.is_file():
            raise UsageProblemError(
                f"{source}: no such file", hint="Give a model file, a pack, or its address."
            )
        with path.open("rb") as stream:
            yield stream
        return
    if not source.startswith(("https://", "http://")):
        raise UsageProblemError(
            f"{source} is neither a file nor an address that can be fetched",
            hint="Give a file, or an address that begins with https://.",
        )
    # The scheme was checked, and the content is held against a checksum.
    with urllib.request.urlopen(source, timeout=_SECONDS_WITHOUT_ANSWER) as answer:  # noqa: S310
        yield answer


def _copy(stream: IO[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_digest(source: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted.strip().lower():
        raise CheckFailedError(
            f"{source} has the checksum {found}, not {wanted}",
            hint="It is damaged or not what was published: do not use it.",
        )


def _unpacked(fetched: Path, source: str) -> Path:
    """The model file: what was fetched, or the one in a pack, whose checksum must be right."""
    if not zipfile.is_zipfile(fetched):
        return fetched
    try:
        with zipfile.ZipFile(fetched) as archive:
            names = [name for name in archive.namelist() if name.endswith(SUFFIX)]
            if len(names) != 1:
                raise UnusableFileError(
                    f"{source} holds {len(names)} model files, not one",
                    hint="Give a pack as `hyseg models pack` makes it, or a model file.",
                )
            sums = archive.read(SUMS).decode() if SUMS in archive.namelist() else ""
            model = fetched.with_name("model")
            with archive.open(names[0]) as stream:
                digest = _copy(stream, model)
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError) as error:
        raise UnusableFileError(f"{source} is damaged ({error})", hint="Fetch it again.") from error
    known = dict(line.split(maxsplit=1)[::-1] for line in sums.splitlines() if line.strip())
    _require_digest(f"{source}/{names[0]}", digest, known.get(names[0]))
    return model


# ---- packing ----------------------------------------------------------------------------------


def _read_picture(path: Path) -> bytes:
    if path.suffix.lower() not in _PICTURES:
        raise UsageProblemError(
            f"`picture` {path} is neither PNG nor JPEG",
            hint="`hyseg predict --preview map.png` draws one.",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageProblemError(
            f"`picture` {path} cannot be read ({error.strerror})", hint="Check the path."
        ) from error


def _missing(card: ModelCard) -> Iterator[str]:
    for what, value in (
        ("the name of its data", card.data.name),
        ("the licence of its data", card.data.licence),
        ("whom to credit", card.data.attribution),
        ("what it scored on held-out scenes", card.metrics),
    ):
        if not value:
            yield what


def _readme(name: str, card: ModelCard) -> str:
    scores = [
        f"- {key}: {value:.3f}" for key, value in card.metrics.items() if isinstance(value, float)
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A land-cover model for hyseg: {', '.join(card.legend.names)}.",
            "",
            f"- bands: {', '.join(card.bands)} ({card.dtype})",
            f"- pixels: {card.pixels_text}",
            f"- data: {card.data.name or 'not stated'}",
            f"- licence of the data: {card.data.licence or 'not stated'}",
            f"- credit: {card.data.attribution or 'not stated'}",
            f"- trained on: {', '.join(card.data.training_scenes) or 'not stated'}",
            f"- held out: {', '.join(card.data.validation_scenes) or 'nothing'}",
            *scores,
            "",
            "```sh",
            f"hyseg models add {name}{PACK_SUFFIX}",
            f"hyseg predict scene.tif --model {name} --out map.tif",
            "```",
            "",
        ]
    )


def _notice(card: ModelCard) -> str:
    data = card.data
    return (
        f"Trained with hyseg on: {data.name or 'data whose name is not stated'}\n"
        f"Licence of the data: {data.licence or 'not stated'}\n"
        f"Attribution: {data.attribution or 'not stated'}\n"
        f"Packed by hyseg {__version__}\n"
    )


def _zip_of(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            # Weights are noise to a packer.
            is_weights = name.endswith(SUFFIX)
            entry.compress_type = zipfile.ZIP_STORED if is_weights else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return packed.getvalue()
