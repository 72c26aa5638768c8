"""Train and measure every row of an experiment; finished runs are not repeated."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import click
import torch
from plan import ENCODER, NONE, OWN, Plan, Run, read_plan

import hyseg_cli
from hyseg_cli.learn.model.card import read_card

PATH = click.Path(path_type=Path, exists=True)
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Bench:
    """Where data come from and results go."""

    data: Path
    """A folder for each scene, with images and masks in it."""
    legend: Path
    out: Path
    options: tuple[str, ...]
    """Given to every training and every measurement."""
    backbone_weights: Path | None = None
    """Where trainings start from; None for random weights."""

    def model(self, name: str) -> Path:
        """The model file of that name."""
        return self.out / f"{name}{SUFFIX}"

    def result(self, run: Run) -> Path:
        """The scores of a run; it is there when the run is done."""
        return self.out / f"{run.name}.json"


@click.command()
@click.argument("experiment", type=PATH)
@click.option("--data", type=PATH, required=True, help="Folder with a folder for each scene.")
@click.option("--legend", type=PATH, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--device", default="auto", show_default=True)
@click.option("--backbone-weights", type=PATH, help="Pretrained weights of the backbone.")
@click.option("--minutes", type=float, help="Begin no run after this time.")
@click.option("--keep-models", is_flag=True, help="Keep the model of each row, not only of priors.")
def main(
    experiment: Path,
    data: Path,
    legend: Path,
    out: Path,
    device: str,
    backbone_weights: Path | None,
    minutes: float | None,
    *,
    keep_models: bool,
) -> None:
    """Train and measure every row of EXPERIMENT, a TOML file."""
    plan = read_plan(experiment)
    bench = Bench(data, legend, out, ("--device", device), backbone_weights)
    out.mkdir(parents=True, exist_ok=True)
    until = None if minutes is None else time.monotonic() + 60 * minutes
    for run in plan.runs():
        if run.find(out) is not None:
            continue
        if until is not None and time.monotonic() > until:
            break
        click.echo(what_is_left(plan, out), err=True)
        click.echo(f"{run.row.name}, {run.split} held out, seed {run.seed}", err=True)
        carry_out(bench, run)
        if not keep_models and not _is_donor(plan, run):
            bench.model(run.name).unlink()
    click.echo(what_is_left(plan, out), err=True)


def what_is_left(plan: Plan, out: Path) -> str:
    """How many runs are missing, and about how many hours they take by the pace of the others."""
    found = [run.find(out) for run in plan.runs()]
    missing = found.count(None)
    if not missing:
        return "all runs are done"
    done = [json.loads(path.read_text()).get("seconds") for path in found if path is not None]
    known = [seconds for seconds in done if seconds]
    pace = f", about {missing * fmean(known) / 3600:.2g} hours" if known else ""
    return f"{missing} of {len(found)} runs are missing{pace}"


def _is_donor(plan: Plan, run: Run) -> bool:
    return any(row.prior == run.row.name for row in plan.rows)


def carry_out(bench: Bench, run: Run) -> None:
    """Train a row and write its scores."""
    started = time.monotonic()
    model = bench.model(run.name)
    begun = (model, model.with_suffix(".run"), bench.model(run.prior_name).with_suffix(".run"))
    goes_on = any(path.exists() for path in begun)
    prior = _prior_of(bench, run)
    if not model.is_file():
        _train(bench, run, model, prior, segmentation=True)
    metrics = read_card(model).metrics
    use = metrics.get("prior_use", {})
    values = run.settings() | {
        "experiment": run.plan.title,
        "row": run.row.name,
        "split": run.split,
        "versions": {
            "hyseg": hyseg_cli.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "backbone_weights": bench.backbone_weights.name if bench.backbone_weights else None,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        # Of a training that was stopped in between nobody knows.
        "seconds": None if goes_on else round(time.monotonic() - started),
        "validation": metrics["miou"],
        # Mean IoU with the own prior, with that of another image, and with one that knows nothing.
        "prior_use": {name: use[name] for name in sorted(use) if name.startswith("miou")},
        # An oracle sees the labels while it is validated; nobody can make a map with it.
        "scenes": {}
        if run.is_oracle
        else {scene: _measure(bench, model, scene) for scene in run.held_out},
    }
    scratch = bench.result(run).with_suffix(".part")
    scratch.write_text(json.dumps(values) + "\n")
    scratch.replace(bench.result(run))


def _prior_of(bench: Bench, run: Run) -> Path | None:
    """The model file that the run starts from, trained if it does not exist."""
    if run.row.prior == NONE:
        return None
    if run.row.prior not in (OWN, ENCODER):
        return bench.model(run.donor().name)
    path = bench.model(run.prior_name)
    if not path.is_file():
        _train(bench, run, path, None, segmentation=False)
    return path


def _train(bench: Bench, run: Run, out: Path, prior: Path | None, *, segmentation: bool) -> None:
    options = {**run.plan.train, "seed": run.seed, "out": out, "legend": bench.legend}
    options |= {"images": bench.data, "labels": bench.data}
    if bench.backbone_weights is not None:
        options["backbone-weights"] = bench.backbone_weights
    options["preset"] = run.preset if segmentation else run.prior_preset
    if not segmentation:
        options["stage"] = "prior"
    elif prior is not None:
        options |= {"stage": "segmentation", "prior": prior}
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    arguments += [text for scene in run.held_out for text in ("--val-scenes", scene)]
    folder = out.with_suffix(".run")
    _hyseg("train", *arguments, *bench.options, *(["--resume"] if folder.is_dir() else []))
    shutil.rmtree(folder)


def _measure(bench: Bench, model: Path, scene: str) -> dict[str, object]:
    """Scores of a model on one scene."""
    where = str(bench.data / scene)
    arguments = ["--images", where, "--labels", where, "--model", str(model), "--structure"]
    arguments += ["--reference-legend", str(bench.legend)]
    scores: dict[str, object] = json.loads(_hyseg("evaluate", *arguments, "--json", *bench.options))
    # Paths on this machine are of no use to others.
    return {key: value for key, value in scores.items() if key not in ("name", "reference")}


def _hyseg(*arguments: str) -> str:
    """The output of a command. If it fails, it has printed why, and the experiment ends."""
    command = [sys.executable, "-m", "hyseg_cli", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode:
        click.echo(f"stopped by: hyseg {' '.join(arguments)}", err=True)
        sys.exit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    main()
