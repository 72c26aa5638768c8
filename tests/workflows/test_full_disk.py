"""A disk that is really full: a small file system in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.tiling import blocks
from hyseg_cli.workflows.predict import plan as mapping_plan


def fill(folder: Path, left: int) -> Path:
    """Leave so many bytes free."""
    path = folder / "filler"
    path.write_bytes(bytes(shutil.disk_usage(folder).free - left))
    return path


@pytest.mark.parametrize(
    ("has_shards", "left"),
    [(False, 20_480), (True, 8_192), (True, 24_576)],
    ids=["shards", "vrt", "cog"],
)
def test_a_disk_that_fills_up_is_one_error_and_the_run_goes_on_when_there_is_space(
    tmp_path, small_disk, write_raster, tiny_model, monkeypatch, has_shards, left
):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 20_000)
    # Maps of noise are larger than the forecast, which is measured on real ones.
    monkeypatch.setattr(mapping_plan, "BYTES_PER_CLASS_PIXEL", 0.0)
    monkeypatch.setattr(mapping_plan, "BYTES_PER_PROBABILITY_PIXEL", 0.0)
    image = np.random.default_rng(0).integers(1, 255, (3, 300, 310), dtype=np.uint8)
    scene = write_raster(image, photometric="RGB")

    def run(folder, *flags):
        words = ["predict", scene, "--out", folder / "map.tif", "-m", tiny_model]
        words += ["--confidence", folder / "sure.tif", "--tile-size", 64, "--overlap", 32]
        return CliRunner().invoke(cli, [str(word) for word in [*words, *flags]])

    if has_shards:
        assert run(small_disk, "--shard", "1/1").exit_code == 0
    filler = fill(small_disk, left)
    result = run(small_disk)
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert "free space" in result.stderr
    assert not (small_disk / "map.tif").exists()
    kept = sorted(small_disk.glob("map.tif.hyseg/row*.tif"))
    assert not list(small_disk.glob("map.tif.hyseg/*.tmp"))
    filler.unlink()
    again = run(small_disk)
    assert again.exit_code == 0, again.output
    assert kept
    assert f"resuming: {len(kept)} of" in again.stderr
    (tmp_path / "ample").mkdir()
    assert run(tmp_path / "ample").exit_code == 0
    made = sorted((tmp_path / "ample").iterdir())
    assert [path.name for path in made] == sorted(path.name for path in small_disk.iterdir())
    for path in made:
        assert (small_disk / path.name).read_bytes() == path.read_bytes()
