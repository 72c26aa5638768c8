"""Rows beside those of the logger."""

import csv
import os

from hyseg_cli.learn.training.fit import add_row


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_with_columns_of_its_own_stands_below_the_others(tmp_path):
    table = tmp_path / "segmentation/metrics.csv"
    table.parent.mkdir()
    table.write_text("loss,step\n0.5,9\n0.25,19\n")
    add_row(table.parent, {"prior_use": 0.125})
    assert rows(table) == [
        {"loss": "0.5", "step": "9", "prior_use": ""},
        {"loss": "0.25", "step": "19", "prior_use": ""},
        {"loss": "", "step": "", "prior_use": "0.125"},
    ]


def test_a_stage_that_trained_nothing_gets_a_table(tmp_path):
    add_row(tmp_path / "prior", {"miou": 0.5})
    assert rows(tmp_path / "prior/metrics.csv") == [{"miou": "0.5"}]


def test_a_row_goes_to_the_last_run_whatever_the_clock_said_then(tmp_path):
    for version in (9, 10, 2):
        table = tmp_path / f"prior/version_{version}/metrics.csv"
        table.parent.mkdir(parents=True)
        table.write_text("loss\n0.5\n")
        os.utime(table, (2e9 - version, 2e9 - version))
    add_row(tmp_path / "prior", {"miou": 0.5})
    assert len(rows(tmp_path / "prior/version_10/metrics.csv")) == 2
    assert len(rows(tmp_path / "prior/version_9/metrics.csv")) == 1
