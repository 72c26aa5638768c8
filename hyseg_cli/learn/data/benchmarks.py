"""The benchmarks of the paper, read from their published files: classes, coding and splits.

torchgeo has data sets for three of the four. They are not used: for the ISPRS ones it treats the
black boundaries of eroded labels as clutter and lists Potsdam tile 7_10, whose labels are wrong; it
would change the class numbers of LoveDA; and it lacks UAVid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.data.pairs import ScenePair
from hyseg_cli.legend import Color, Legend, LegendClass

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Benchmark:
    """One published data set."""

    name: str
    title: str
    legend: Legend
    """The classes as they are written into maps."""
    coding: Legend
    """The classes as the label files code them, in the same order."""
    bands: tuple[str, ...]
    licence: str
    find: Callable[[Path, Split], list[ScenePair]]
    """Images and labels of a split below the folder where the data set was unpacked."""
    unscored: tuple[str, ...] = ()
    """Classes that its published means leave out; its overall accuracy counts them."""


def _legend(*classes: tuple[str, Color]) -> Legend:
    return Legend(
        tuple(
            LegendClass(id=index, name=name, color=color)
            for index, (name, color) in enumerate(classes)
        )
    )


def _with_ignored_colors(legend: Legend, *colors: Color) -> Legend:
    return Legend(legend.classes, ignored_colors=colors)


def _shifted(legend: Legend) -> Legend:
    """The same classes numbered from 1, where 0 means unlabelled."""
    return Legend(
        tuple(
            LegendClass(id=entry.id + 1, name=entry.name, color=entry.color)
            for entry in legend.classes
        ),
        ignored_ids=(0,),
    )


LOVEDA_LEGEND = _legend(
    ("background", (255, 255, 255)),
    ("building", (255, 0, 0)),
    ("road", (255, 255, 0)),
    ("water", (0, 0, 255)),
    ("barren", (159, 129, 183)),
    ("forest", (0, 255, 0)),
    ("agriculture", (255, 195, 128)),
)

UAVID_LEGEND = _legend(
    ("building", (128, 0, 0)),
    ("road", (128, 64, 128)),
    ("tree", (0, 128, 0)),
    ("low vegetation", (128, 128, 0)),
    ("moving car", (64, 0, 128)),
    ("static car", (192, 0, 192)),
    ("human", (64, 64, 0)),
    ("clutter", (0, 0, 0)),
)

ISPRS_LEGEND = _legend(
    ("impervious surface", (255, 255, 255)),
    ("building", (0, 0, 255)),
    ("low vegetation", (0, 255, 255)),
    ("tree", (0, 255, 0)),
    ("car", (255, 255, 0)),
    ("clutter", (255, 0, 0)),
)

UAVID_SEQUENCES: dict[Split, tuple[int, ...]] = {
    "train": (*range(1, 16), *range(31, 36)),
    "val": (*range(16, 21), 36, 37),
    "test": (*range(21, 31), *range(38, 43)),
}

POTSDAM_TILES: dict[Split, tuple[str, ...]] = {
    "train": (
        "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12",
        "6_7", "6_8", "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_11", "7_12",
    ),
    "val": ("2_10",),
    "test": (
        "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13",
        "6_14", "6_15", "7_13",
    ),
}  # fmt: skip
"""Without 7_10: its labels are wrong."""

VAIHINGEN_TILES: dict[Split, tuple[int, ...]] = {
    "train": (1, 3, 5, 7, 11, 13, 15, 17, 21, 23, 26, 28, 32, 34, 37),
    "val": (30,),
    "test": (2, 4, 6, 8, 10, 12, 14, 16, 20, 22, 24, 27, 29, 31, 33, 35, 38),
}


def _loveda(root: Path, split: Split) -> list[ScenePair]:
    """`Train|Val|Test/Urban|Rural/images_png/N.png` and `masks_png/N.png`."""
    pairs = [
        ScenePair(image, (image.parents[1] / "masks_png" / image.name,), f"{area}/{image.stem}")
        for area in ("Urban", "Rural")
        for image in sorted(root.glob(f"{split.capitalize()}/{area}/images_png/*.png"))
    ]
    return _require_all(pairs, root, f"{split.capitalize()}/Urban/images_png/*.png")


def _uavid(root: Path, split: Split) -> list[ScenePair]:
    """`uavid_train|val|test/seqN/Images/NNNNNN.png` and `Labels/NNNNNN.png`."""
    pairs = [
        ScenePair(image, (image.parents[1] / "Labels" / image.name,), f"seq{number}")
        for number in UAVID_SEQUENCES[split]
        for image in sorted(root.glob(f"uavid_*/seq{number}/Images/*.png"))
    ]
    return _require_all(pairs, root, f"uavid_{split}/seqN/Images/*.png")


def _potsdam(root: Path, split: Split) -> list[ScenePair]:
    """`top_potsdam_R_C_RGB.tif` and `_label.tif`, for tests `_label_noBoundary.tif`."""
    ending = "_label_noBoundary" if split == "test" else "_label"
    names = [
        (f"top_potsdam_{tile}_RGB.tif", f"top_potsdam_{tile}{ending}.tif", tile)
        for tile in POTSDAM_TILES[split]
    ]
    return _by_file_name(root, names)


def _vaihingen(root: Path, split: Split) -> list[ScenePair]:
    """`top/top_mosaic_09cm_areaN.tif`; labels of the same name elsewhere, or `_noBoundary.tif`."""
    ending = "_noBoundary" if split == "test" else ""
    names = [
        (
            f"top/top_mosaic_09cm_area{tile}.tif",
            f"top_mosaic_09cm_area{tile}{ending}.tif",
            str(tile),
        )
        for tile in VAIHINGEN_TILES[split]
    ]
    return _by_file_name(root, names)


def _by_file_name(root: Path, names: Sequence[tuple[str, str, str]]) -> list[ScenePair]:
    """Pairs of files, wherever the archives were unpacked below the folder."""
    pairs = []
    for image_name, label_name, scene in names:
        images = sorted(root.rglob(image_name))
        labels = [path for path in sorted(root.rglob(label_name)) if path not in images]
        missing = image_name if not images else label_name if not labels else None
        if missing is not None:
            raise _missing(root, missing)
        pairs.append(ScenePair(images[0], (labels[0],), scene))
    return pairs


def _require_all(pairs: list[ScenePair], root: Path, pattern: str) -> list[ScenePair]:
    if not pairs:
        raise _missing(root, pattern)
    for label in _labels(pairs):
        if not label.is_file():
            raise _missing(root, str(label.relative_to(root)))
    return pairs


def _labels(pairs: Sequence[ScenePair]) -> Iterator[Path]:
    for pair in pairs:
        yield from pair.labels


def _missing(root: Path, name: str) -> UsageProblemError:
    return UsageProblemError(
        f"{root} has no {name}",
        hint="Unpack the archives of the benchmark, with their folders, below `root`.",
    )


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "loveda", "LoveDA", LOVEDA_LEGEND, _shifted(LOVEDA_LEGEND), ("red", "green", "blue"),
            "CC-BY-NC-SA-4.0", _loveda,
        ),
        Benchmark(
            "uavid", "UAVid", UAVID_LEGEND, UAVID_LEGEND, ("red", "green", "blue"),
            "CC-BY-NC-SA-4.0", _uavid,
        ),
        Benchmark(
            "potsdam", "ISPRS Potsdam", ISPRS_LEGEND,
            _with_ignored_colors(ISPRS_LEGEND, (0, 0, 0)), ("red", "green", "blue"), "", _potsdam,
            ("clutter",),
        ),
        Benchmark(
            "vaihingen", "ISPRS Vaihingen", ISPRS_LEGEND,
            _with_ignored_colors(ISPRS_LEGEND, (0, 0, 0)), ("nir", "red", "green"), "", _vaihingen,
            ("clutter",),
        ),
    )
}  # fmt: skip
"""By name."""
