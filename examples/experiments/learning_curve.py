"""How many polygons it takes: fine-tune a model, and train one from scratch, with more and more.

    python learning_curve.py --scene "dubai/Tile 3" --legend ../dubai.legend.json --out curve/

The scene should be one that the model has not seen. Polygons are drawn on two of its images; the
others are used for measuring. Finished steps are not repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import click
import geopandas as gpd
import torch
from polygon_scene import PolygonScene

import hyseg_cli
from hyseg_cli.learn.model.card import digest_of, read_card
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.legend import read_legend

PATH = click.Path(path_type=Path, exists=True)
DRAWN_ON = (1, 5)
_TAUGHT = ["--prior-steps", "0", "--steps", "100"]
RECIPES = {
    "half way": [*_TAUGHT, "--blend", "0.5"],
    "all of the way": [*_TAUGHT, "--blend", "1"],
    "anew": ["--prior-steps", "60", "--steps", "150"],
}
"""As long as a patient user would wait on a CPU; all but the last start from the model."""
CHIPS = ["--chip-size", "128", "--batch-size", "4"]
UNTAUGHT = "as it is"


@click.command()
@click.option("--scene", type=PATH, required=True, help="Folder with `images` and `masks`.")
@click.option("--legend", type=PATH, required=True)
@click.option("--model", default="default", show_default=True, help="What is taught.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--polygons", type=int, multiple=True, default=(5, 10, 20, 50), show_default=True)
@click.option("--seeds", type=int, multiple=True, default=(0, 1), show_default=True)
def main(
    scene: Path,
    legend: Path,
    model: str,
    out: Path,
    polygons: tuple[int, ...],
    seeds: tuple[int, ...],
) -> None:
    """Train and measure with more and more polygons, and print a table."""
    place = PolygonScene(out / "scene", read_legend(legend), DRAWN_ON)
    place.write(scene)
    runs = [(way, count, seed) for seed in seeds for way in RECIPES for count in polygons]
    for way, count, seed in [(UNTAUGHT, 0, 0), *runs]:
        result = out / f"{way.replace(' ', '_')}_{count}_{seed}.json"
        if result.is_file():
            continue
        scores = _untaught(place, model) if way == UNTAUGHT else {}
        if way in RECIPES:
            scores = _trained(place, legend, model, out, way, count, seed)
        scores |= {
            "way": way, "polygons": count, "seed": seed, "scene": scene.name,
            "model": digest_of(find_model(model)),
            "versions": {"hyseg": hyseg_cli.__version__, "torch": torch.__version__},
        }  # fmt: skip
        scratch = result.with_suffix(".part")
        scratch.write_text(json.dumps(scores) + "\n")
        scratch.replace(result)
    click.echo(table([json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]))


def _untaught(place: PolygonScene, model: str) -> dict[str, object]:
    where = ["--images", str(place.rest), "--labels", str(place.truth)]
    found = json.loads(_hyseg("evaluate", *where, "--model", model, "--json"))
    return {"miou": found["miou"], "overall_accuracy": found["overall_accuracy"]}


def _trained(
    place: PolygonScene, legend: Path, model: str, out: Path, way: str, count: int, seed: int
) -> dict[str, object]:
    file = place.draw(count, seed)
    target = out / f"{way.replace(' ', '_')}_{count}_{seed}.safetensors"
    # Measured once, at the end, so that the measured images do not choose the model.
    _hyseg(
        "train", "--images", str(place.drawn), "--labels", str(file), "--class-field", "kind",
        "--legend", str(legend), "--val-images", str(place.rest), "--val-labels",
        str(place.truth), "--val-every", "1000", "--seed", str(seed), "--out", str(target),
        "--overwrite", *CHIPS, *RECIPES[way], *([] if way == "anew" else ["--from", model]),
    )  # fmt: skip
    metrics = read_card(target).metrics
    target.unlink()
    area = float(gpd.read_file(file).area.sum())
    return {key: metrics[key] for key in ("miou", "overall_accuracy", "iou")} | {"area_m2": area}


def _hyseg(*arguments: str) -> str:
    command = [sys.executable, "-m", "hyseg_cli", *arguments, "--quiet"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode:
        click.echo(f"stopped by: hyseg {' '.join(arguments)}", err=True)
        sys.exit(done.returncode)
    return done.stdout


def table(results: list[dict[str, object]]) -> str:
    """Mean IoU in points by number of polygons and way, with the spread over seeds."""
    found: dict[tuple[str, int], list[float]] = {}
    for result in results:
        key = str(result["way"]), int(str(result["polygons"]))
        found.setdefault(key, []).append(100 * float(str(result["miou"])))
    lines = [f"| polygons | {' | '.join(RECIPES)} |", "|---" * (1 + len(RECIPES)) + "|"]
    for count in sorted({count for way, count in found if way in RECIPES}):
        cells = [_cell(found.get((way, count), [])) for way in RECIPES]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    lines.append(f"\nUntaught: {_cell(found.get((UNTAUGHT, 0), []))}")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return "not run"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
