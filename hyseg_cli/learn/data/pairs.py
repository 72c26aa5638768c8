"""Which labels belong to which image: matched by name, or by location if names do not match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES
from hyseg_cli.geo.suffixes import UNREAD_SUFFIXES, VECTOR_FORMATS, VECTOR_SUFFIXES

RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".vrt", ".jp2", ".img"}) | PICTURE_SUFFIXES
TABLE_SUFFIXES = frozenset({".csv"})
"""Of tables of points."""
IMAGE_FOLDERS = frozenset({"images", "image", "img"})
LABEL_FOLDERS = frozenset({"labels", "label", "masks", "mask", "annotations", "gt"})
LABEL_ENDINGS = ("_labels", "_label", "_masks", "_mask", "_gt")


@dataclass(frozen=True)
class ScenePair:
    """An image and its labels."""

    image: Path
    labels: tuple[Path, ...]
    """One raster or several, one vector file, or one table of points."""
    scene: str
    """Name of the scene; parts of one scene share it and are never split apart."""


def find_pairs(
    images: Path, labels: Path, renaming: Sequence[str] | None = None
) -> list[ScenePair]:
    """Match images to labels, sorted by path.

    A vector file labels every image that it touches, a table of points every image. In a folder
    without rasters, tables are the labels. Rasters and tables match by name: equal up to the
    suffix, endings such as `_mask`, and folders such as `images` and `masks`. If no names match,
    georeferenced rasters match by location. Both may be single files, folders, or the same folder.

    Args:
        images: A file or a folder.
        labels: The same.
        renaming: A regular expression and its replacement that make the name of an image, without
            suffix, that of its label raster; several images may then have the same labels.

    Raises:
        UsageProblemError: If a path is missing or nothing matches.
    """
    for path in (images, labels):
        if not path.exists():
            raise UsageProblemError(f"{path}: no such file or folder", hint="Check the path.")
    if labels.is_file() and labels.suffix.lower() in UNREAD_SUFFIXES:
        raise UsageProblemError(
            f"{labels}: {labels.suffix} is not among the formats that are read",
            hint=f"Rasters are, and of vectors {VECTOR_FORMATS}.",
        )
    if images.is_file() and labels.is_file():
        return [ScenePair(images, (labels,), images.stem)]
    named_images = _by_name(images, LABEL_FOLDERS, prefer_labels=False)
    labels = _only_vector_file(labels)
    if labels.is_file() and labels.suffix.lower() in VECTOR_SUFFIXES | TABLE_SUFFIXES:
        pairs = [ScenePair(path, (labels,), key[0]) for key, path in named_images.items()]
        return _require_some(pairs, images, labels)
    label_of = _by_name(labels, IMAGE_FOLDERS, prefer_labels=True) or _by_name(
        labels, IMAGE_FOLDERS, prefer_labels=True, suffixes=TABLE_SUFFIXES
    )
    wanted = {key: _renamed(key, renaming) for key in named_images}
    pairs = [
        ScenePair(path, (label_of[wanted[key]],), key[0])
        for key, path in named_images.items()
        if wanted[key] in label_of and label_of[wanted[key]] != path
    ]
    if not pairs:
        pairs = _match_vectors(named_images, labels)
    if not pairs and renaming is None:
        pairs = _match_by_place(named_images, set(label_of.values()))
    return _require_some(pairs, images, labels)


def _renamed(key: tuple[str, ...], renaming: Sequence[str] | None) -> tuple[str, ...]:
    """The key of the labels of an image."""
    if renaming is None:
        return key
    pattern, replacement = renaming
    return (*key[:-1], re.sub(pattern, replacement, key[-1]))


def images_without(pairs: Sequence[ScenePair], images: Path) -> list[Path]:
    """Images without labels; files named like labels do not count as images."""
    paired = {path for pair in pairs for path in (pair.image, *pair.labels)}
    found = _by_name(images, LABEL_FOLDERS, prefer_labels=False).values()
    return [path for path in found if path not in paired]


def _only_vector_file(labels: Path) -> Path:
    """The vector file in a folder that holds one and no raster; else the folder itself."""
    if labels.is_file():
        return labels
    files = sorted(_files_below(labels))
    vectors = [path for path in files if path.suffix.lower() in VECTOR_SUFFIXES]
    has_raster = any(path.suffix.lower() in RASTER_SUFFIXES for path in files)
    return vectors[0] if len(vectors) == 1 and not has_raster else labels


def _by_name(
    root: Path,
    skip: frozenset[str],
    *,
    prefer_labels: bool,
    suffixes: frozenset[str] = RASTER_SUFFIXES,
) -> dict[tuple[str, ...], Path]:
    """Files by the parts of their names that must match.

    If a folder holds images and labels side by side, only the ending distinguishes them.
    """
    found: dict[tuple[str, ...], Path] = {}
    for key, path in _named(root, skip=skip, suffixes=suffixes):
        is_label = path.stem.lower().endswith(LABEL_ENDINGS)
        if key not in found or is_label == prefer_labels:
            found[key] = path
    return found


def _match_vectors(images: dict[tuple[str, ...], Path], labels: Path) -> list[ScenePair]:
    """One vector file for each image: of its name, or with the same end as in SpaceNet's layout.

    There `RGB-PanSharpen_AOI_2_Vegas_img1.tif` goes with `buildings_AOI_2_Vegas_img1.geojson`.
    """
    if labels.is_file():
        return []
    files = (path for path in sorted(_files_below(labels)) if _is_vector(path))
    vectors = {_bare_stem(path): path for path in files}
    ends = {end: path for stem, path in vectors.items() if (end := _end_of(stem))}
    pairs = []
    for key, image in images.items():
        found = vectors.get(key[-1]) or ends.get(_end_of(key[-1]))
        if found is not None:
            pairs.append(ScenePair(image, (found,), key[0]))
    return pairs


def _is_vector(path: Path) -> bool:
    return path.suffix.lower() in VECTOR_SUFFIXES


def _end_of(stem: str) -> str:
    """What follows the first part of a name, if a number in it tells images apart; else empty."""
    end = stem.partition("_")[2]
    return end if any(letter.isdigit() for letter in end) else ""


def _bare_stem(path: Path) -> str:
    stem = path.stem
    for ending in LABEL_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def _match_by_place(images: dict[tuple[str, ...], Path], labels: set[Path]) -> list[ScenePair]:
    from hyseg_cli.learn.data.label_sources import overlapping  # GDAL only where it is needed

    pairs = []
    labels = {path for path in labels if path.suffix.lower() not in PICTURE_SUFFIXES}
    for key, image in images.items():
        if image.suffix.lower() in PICTURE_SUFFIXES:
            continue
        found = overlapping(image, sorted(labels - {image}))
        if found:
            pairs.append(ScenePair(image, found, key[0]))
    return pairs


def _require_some(pairs: list[ScenePair], images: Path, labels: Path) -> list[ScenePair]:
    if not pairs:
        raise UsageProblemError(
            f"no image in {images} has labels in {labels} of the same name or place",
            hint="Name them alike, such as images/a.tif and labels/a.tif or labels/a.geojson; read "
            f"are rasters, and of vectors {VECTOR_FORMATS}.",
        )
    return pairs


def _named(
    root: Path, *, skip: frozenset[str], suffixes: frozenset[str]
) -> Iterable[tuple[tuple[str, ...], Path]]:
    """The files of some kinds below a folder, each with the parts of its name that must match."""
    files = [root] if root.is_file() else sorted(_files_below(root))
    for path in files:
        folders = path.relative_to(root).parent.parts if path != root else ()
        if path.suffix.lower() not in suffixes or any(f.lower() in skip for f in folders):
            continue
        stem = _bare_stem(path)
        kept = [f for f in folders if f.lower() not in IMAGE_FOLDERS | LABEL_FOLDERS]
        yield (*kept, stem), path


def _files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The files in a folder and in all folders below it, including linked folders.

    A link to one of the folders `above` would never end, so it is skipped.
    """
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise HysegError(
            f"{folder} cannot be read ({error.strerror})", hint="Check the permissions."
        ) from error
    for entry in entries:
        if entry.is_dir():
            yield from _files_below(entry, above | {real})
        elif entry.is_file():
            yield entry
