"""`hyseg train` for tests."""

from __future__ import annotations

from click.testing import CliRunner

from hyseg_cli.cli.group import cli


def run(*arguments):
    return CliRunner().invoke(cli, [str(part) for part in arguments])


def train_arguments(scene_folder, out, **options):
    values = {
        "images": scene_folder / "images",
        "labels": scene_folder / "labels",
        "legend": scene_folder / "legend.json",
        "out": out,
        "preset": "cpu_smoke",
        "chip-size": 64,
        "batch-size": 4,
        "prior-steps": 3,
        "steps": 3,
        "val-scenes": "west",
        "val-every": 3,
    } | options
    given = {key: value for key, value in values.items() if value is not None}
    return ["train", *[part for k, v in given.items() for part in (f"--{k}", v)]]
