"""The layout of the help: options in groups, the daily ones first, and examples.

A test compares the groups with the commands: every option is in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

DAILY, MORE, COMMON = "Daily", "More", "Common"

SECTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "predict": {
        DAILY: ("out", "model", "confidence", "report", "overwrite"),
        "Input": ("bands", "src_nodata", "collar", "gsd", "bounds", "aoi", "context"),
        "Model": ("device", "precision", "compiled", "tta", "noise", "seed"),
        "Tiling and memory": ("tile_size", "overlap", "batch_size", "max_memory"),
        "Outputs": ("probabilities", "style", "preview", "stac"),
        "Many scenes": (
            "skip_existing", "on_error", "manifest", "mosaic", "mosaic_crs", "mosaic_resolution",
            "mosaic_resampling",
        ),
        "Many machines": (
            "devices", "cluster", "workers", "gpus_per_worker", "shard", "merge", "staging",
        ),
        COMMON: ("dry_run", "resume", "as_json"),
    },
    "train": {
        DAILY: ("images", "labels", "out", "start", "dry_run"),
        "Labels": ("legend", "class_field", "sources", "benchmark", "root"),
        "Images": ("bands", "band_names", "optional_bands", "resolution", "map_resolution"),
        "Held out": (
            "val_scenes", "val_split", "val_images", "val_labels", "val_every", "patience",
        ),
        "Network": (
            "preset", "thorough", "prior", "pretrained", "backbone_weights", "freeze", "unfreeze",
            "blend",
        ),
        "Training": (
            "stage", "prior_steps", "steps", "batch_size", "chip_size", "prior_rate", "rate",
            "min_scale", "max_scale", "class_weights", "sampling",
            "vary_features", "seed",
        ),
        "Machine": (
            "device", "devices", "workers", "precision", "feature_space", "feature_folder",
        ),
        "Card": ("data_name", "licence", "attribution"),
        COMMON: ("resume", "save_every", "loggers", "tensorboard", "overwrite"),
    },
    "evaluate": {
        DAILY: ("reference", "samples", "report", "fail_under", "as_json"),
        "Classes": ("legend", "reference_legend", "class_field", "map_classes", "exclude"),
        "Scores": ("structure", "boundary", "patch_size", "kappa"),
        "Sample points": ("field", "design"),
        "Probabilities": ("probabilities", "calibrate"),
        "Models": (
            "images", "labels", "sources", "benchmark", "root", "split", "model", "bands",
            "gsd", "tile_size", "overlap", "batch_size", "device", "seed",
        ),
        COMMON: ("csv", "overwrite"),
    },
    "vectorize": {
        DAILY: ("out", "mmu", "smooth", "simplify", "overwrite"),
        "Classes": ("legend", "classes", "keep", "mmu_into", "fill_nodata"),
        "Polygons": ("dissolve", "connectivity", "split_tiles", "confidence", "check"),
        "Outputs": ("layer", "dst_crs", "split_files", "sieve_out", "stac"),
        COMMON: ("as_json",),
    },
    "sample": {
        DAILY: ("out", "count", "target_se", "expect", "overwrite"),
        "Design": ("strata", "legend", "allocation", "min_per_class", "min_distance", "seed"),
        COMMON: ("as_json",),
    },
}  # fmt: skip
"""Names of parameters by command and heading; the others of a command go under `COMMON`."""

_EVERYWHERE = ("config", "quiet", "log_format", "debug", "help")

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "predict": (
        "hyseg predict scene.tif --out landcover.tif",
        "hyseg predict scenes/ --out maps/ --report reports/ --skip-existing",
    ),
    "train": (
        "hyseg train --images scene.tif --labels polygons.gpkg --from default --out my.safetensors",
        "hyseg train --images images/ --labels labels/ --out my.safetensors --dry-run",
    ),
    "evaluate": (
        "hyseg evaluate landcover.tif --reference truth.tif --report scores.html",
        "hyseg evaluate landcover.tif --samples points.gpkg",
    ),
    "vectorize": (
        "hyseg vectorize landcover.tif --out landcover.gpkg --mmu 100m2 --smooth",
        "hyseg vectorize landcover.tif --out buildings.shp --classes building",
    ),
    "sample": (
        "hyseg sample landcover.tif --out points.gpkg",
        "hyseg sample landcover.tif --out points.gpkg --count 500 --min-distance 100m",
    ),
    "suggest": (
        "hyseg suggest scene.tif --model my.safetensors --out next.gpkg",
        "hyseg suggest scene.tif -m my.safetensors --labels polygons.gpkg -o next.gpkg -n 20",
    ),
    "change": (
        "hyseg change 2014.tif 2018.tif --out change.tif",
        "hyseg change 2014.tif 2018.tif --out change.tif --json",
    ),
    "check": ("hyseg check", "hyseg check --json"),
    "install": ("hyseg qgis install", "hyseg qgis install --profile analysis"),
    "uninstall": ("hyseg qgis uninstall", "hyseg qgis uninstall --profile analysis"),
    "zip": (
        "hyseg qgis zip --out hyseg_qgis.zip",
        "hyseg qgis zip --out hyseg_qgis.zip --home https://example.org/hyseg",
    ),
    "export": (
        "hyseg export default --scene scene.tif --out default.onnx",
        "hyseg export my.safetensors --scene scene.tif --tile-size 256 --out my.onnx",
    ),
    "info": ("hyseg info scene.tif", "hyseg info default --json"),
    "completion": ('eval "$(hyseg completion bash)"', "hyseg completion fish | source"),
    "list": ("hyseg models list", "hyseg models list --json"),
    "show": ("hyseg models show default", "hyseg models show default --json"),
    "add": (
        "hyseg models add cover.hyseg.zip",
        "hyseg models add cover.safetensors --sha256 DIGEST",
    ),
    "pack": (
        "hyseg models pack my.safetensors --out my.zip",
        "hyseg models pack my.safetensors --out my.zip --picture map.png",
    ),
    "path": ("hyseg models path", "hyseg models path default"),
}
"""Two lines that can be typed, for each command."""


def name_of(option: click.Option) -> str:
    """The name of an option in the table: its parameter; click gives `--help` no such name."""
    return "help" if "--help" in option.opts else str(option.name)


def grouped(command: str, options: Iterable[click.Option]) -> dict[str, list[click.Option]]:
    """The options of a command under their headings, in the order of the table."""
    sections = SECTIONS.get(command, {})
    by_name = {name_of(option): option for option in options}
    found = {
        title: [by_name.pop(name) for name in names if name in by_name]
        for title, names in sections.items()
    }
    common = found.pop(COMMON, [])
    ends = [by_name.pop(name) for name in _EVERYWHERE if name in by_name]
    if sections:
        found[MORE] = list(by_name.values())
    else:
        common += by_name.values()
    found[COMMON] = common + ends
    return {title: listed for title, listed in found.items() if listed}


def write_options(command: click.Command, ctx: click.Context, out: click.HelpFormatter) -> None:
    """Write the options of a command in groups."""
    options = [p for p in command.get_params(ctx) if isinstance(p, click.Option)]
    for title, listed in grouped(str(command.name), options).items():
        records = [record for p in listed if (record := p.get_help_record(ctx)) is not None]
        if records:
            with out.section(title):
                out.write_dl(records)


def write_examples(command: click.Command, out: click.HelpFormatter) -> None:
    """Write the examples of a command."""
    lines = EXAMPLES.get(str(command.name), ())
    if lines:
        with out.section("Examples"):
            out.write("".join(f"{'':{out.current_indent}}{line}\n" for line in lines))
