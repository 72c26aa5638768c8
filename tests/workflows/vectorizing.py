"""`hyseg vectorize` for tests."""

from __future__ import annotations

import geopandas as gpd
from click.testing import CliRunner

from hyseg_cli.cli.group import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["vectorize", *map(str, arguments)])


def read(path, layer="landcover"):
    if path.suffix == ".parquet":
        return gpd.read_parquet(path)
    return gpd.read_file(path, layer=layer) if path.suffix == ".gpkg" else gpd.read_file(path)
