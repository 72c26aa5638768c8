"""What a model is worth in places that it has never seen: one table over published pieces of data.

    python elsewhere.py DATA --model default --map-classes five.json --out DIR

DATA is the folder below which the sources of `examples/sources/elsewhere` lie. They are for
evaluation only: nothing may be trained or tuned on them. Each is measured in the classes that its
labels tell apart. With `--hold-out SOURCE.toml` further sources are measured, such as places that
a training held out.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.scores.evaluation import Evaluation
from hyseg_cli.messages import Silence
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.settings.source import read_sources
from hyseg_cli.workflows.evaluate import run as workflow

SOURCES = Path(__file__).parents[2] / "sources" / "elsewhere"


def measure(file: Path, data: Path, model: Path | None, map_classes: Path | None) -> dict[str, Any]:
    """The scores of a model on one source, or why it has none."""
    settings = EvaluateSettings(
        source=read_sources([file], data)[0], root=data, model=model, map_classes=map_classes
    )
    try:
        found = workflow.run(settings, Silence())
    except HysegError as error:
        return {"source": file.stem, "problem": error.message}
    if not isinstance(found, Evaluation):
        message = "a source is one evaluation"
        raise TypeError(message)
    scores = found.agreement
    return {
        "source": file.stem,
        "miou": scores.mean_iou,
        "overall_accuracy": scores.overall_accuracy,
        "pixels": scores.pixels,
        "iou": dict(zip(found.legend.names, scores.iou.tolist(), strict=True)),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The scores as Markdown, those of several classes before those of buildings alone."""
    lines = ["| source | mIoU | OA | IoU by class |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: -len(row.get("iou", ()))):
        if "problem" in row:
            lines.append(f"| {row['source']} | | | {row['problem']} |")
            continue
        classes = ", ".join(
            f"{name} {iou:.2f}" for name, iou in row["iou"].items() if not math.isnan(iou)
        )
        scores = f"{row['miou']:.3f} | {row['overall_accuracy']:.3f}"
        lines.append(f"| {row['source']} | {scores} | {classes} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure a model on all sources and write `elsewhere.json` and `elsewhere.md`."""
    parser = argparse.ArgumentParser(description="Measure a model in places it has never seen.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--map-classes", type=Path)
    parser.add_argument("--hold-out", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    rows = []
    for file in (*sorted(SOURCES.glob("*.toml")), *options.hold_out):
        rows.append(measure(file, options.data, options.model, options.map_classes))
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "elsewhere.json").write_text(json.dumps(rows, indent=1) + "\n")
        (options.out / "elsewhere.md").write_text(table(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    main()
