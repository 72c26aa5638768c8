import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate

from hyseg_cli.geo.output.cog import MapSpec, Source, put_in_place, write_cog
from hyseg_cli.geo.output.shards import missing_blocks, shard_path, writing_shard
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.tiling.blocks import Block
from hyseg_cli.geo.window import Window

CUSTOM_WKT = CRS.from_proj4(
    "+proj=laea +lat_0=47.3 +lon_0=8.1 +x_0=20 +y_0=30 +ellps=bessel +units=m"
)


def make_spec(legend, height=1300, width=700, **changes):
    values = {
        "height": height,
        "width": width,
        "crs": CRS.from_epsg(32632),
        "transform": from_origin(500_000.123456789, 5_400_000, 0.1, 0.1),
        "legend": legend,
        "tags": {"HYSEG_VERSION": "test"},
    }
    return MapSpec(**{**values, **changes})


def make_classes(spec):
    rng = np.random.default_rng(0)
    coarse = rng.choice([0, 1, 2, 3, 4, 255], (spec.height // 9 + 1, spec.width // 9 + 1))
    return np.kron(coarse, np.ones((9, 9)))[: spec.height, : spec.width].astype(np.uint8)


def test_the_map_is_a_valid_cog_with_everything_in_it(tmp_path, legend, write_map):
    spec = make_spec(legend)
    classes = make_classes(spec)
    out = tmp_path / "map.tif"
    write_map(out, spec, classes)
    valid, errors, warnings = cog_validate(out)
    assert valid, (errors, warnings)
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(1), classes)
        assert file.crs == spec.crs
        assert file.transform == spec.transform
        assert file.nodata == 255
        assert file.dtypes == ("uint8",)
        assert file.colormap(1)[3] == (0x5F, 0xA0, 0x4E, 255)
        assert file.overviews(1)
        assert file.tags()["HYSEG_VERSION"] == "test"


def test_overviews_hold_the_most_frequent_class(tmp_path, legend, write_map):
    spec = make_spec(legend, height=1024, width=1024)
    classes = np.zeros((1024, 1024), np.uint8)
    classes[:, 1::4] = 4
    out = tmp_path / "map.tif"
    write_map(out, spec, classes)
    with rasterio.open(out, overview_level=0) as file:
        overview = file.read(1)
    # An average would give class 1 or 2 in every other column.
    assert set(np.unique(overview)) <= {0, 4}


@pytest.mark.parametrize("rows", [1, 7, 512, 1300])
def test_rows_may_come_in_any_portions(tmp_path, legend, rows, write_map):
    spec = make_spec(legend)
    classes = make_classes(spec)
    write_map(tmp_path / "map.tif", spec, classes, rows=rows)
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), classes)


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_size_of_shards_changes_nothing(tmp_path, legend, parts, write_map):
    spec = make_spec(legend)
    classes = make_classes(spec)
    write_map(tmp_path / "a.tif", spec, classes)
    write_map(tmp_path / "b.tif", spec, classes, parts=parts)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_window_of_the_parts_may_be_written(tmp_path, legend):
    spec = make_spec(legend, height=1300, width=700)
    classes = make_classes(spec)
    work = WorkFolder(tmp_path / "map.tif")
    window = Window(100, 50, 600, 333)
    with work.locked():
        for row, col, height, width in [(0, 0, 500, 400), (500, 0, 300, 400)]:
            block = Block(range(1), range(1), Window(row, col, height, width))
            with writing_shard(work, block, 1) as shard:
                shard.append(classes[None, *block.window.slices])
                shard.finish({})
        blocks = [
            Block(range(1), range(1), Window(r, 0, h, 400)) for r, h in [(0, 500), (500, 300)]
        ]
        sources = [Source(shard_path(work, u), u.window.seen_from(window)) for u in blocks]
        small = make_spec(legend, height=600, width=333)
        put_in_place(write_cog(work, "map.tif", small, sources), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), classes[window.slices])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (CRS.from_epsg(4326), from_origin(9.1, 47.2, 1e-5, 1e-5)),
        (CUSTOM_WKT, from_origin(-3000, 400, 2, 2)),
        # rotated
        (CRS.from_epsg(32632), Affine(0.4, 0.3, 5e5, 0.3, -0.4, 5.4e6)),
        # south-up
        (CRS.from_epsg(32632), Affine(1, 0, 5e5, 0, 1, 5.4e6)),
    ],
)
def test_the_place_is_exactly_that_of_the_scene(tmp_path, legend, crs, transform, write_map):
    spec = make_spec(legend, height=40, width=30, crs=crs, transform=transform)
    write_map(tmp_path / "map.tif", spec, make_classes(spec))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs == crs
        assert file.transform == transform


def test_a_scene_without_place_gives_a_map_without_place(tmp_path, legend, write_map):
    spec = make_spec(legend, height=40, width=30, crs=None, transform=Affine.identity())
    write_map(tmp_path / "map.tif", spec, make_classes(spec))
    with pytest.warns(NotGeoreferencedWarning):
        file = rasterio.open(tmp_path / "map.tif")
    assert file.crs is None
    assert file.transform.is_identity
    file.close()


def test_class_names_stand_in_the_sidecar(tmp_path, legend, write_map):
    spec = make_spec(legend, height=40, width=30)
    write_map(tmp_path / "map.tif", spec, make_classes(spec))
    text = (tmp_path / "map.tif.aux.xml").read_text()
    names = [part.split("<")[0] for part in text.split("<Category>")[1:]]
    assert tuple(names) == legend.names


def test_stale_sidecars_go_with_the_map_they_described(tmp_path, legend, write_map):
    spec = make_spec(legend, height=40, width=30)
    (tmp_path / "map.tif.ovr").write_text("old")
    write_map(tmp_path / "map.tif", spec, make_classes(spec))
    assert {path.name for path in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}


def test_a_shard_that_fails_is_not_there(tmp_path):
    work, block = (
        WorkFolder(tmp_path / "map.tif"),
        Block(range(1), range(1), Window(0, 0, 600, 700)),
    )

    def fail():
        with work.locked(), writing_shard(work, block, 1) as shard:
            shard.append(np.zeros((1, 600, 700), np.uint8))
            message = "stop"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        fail()
    assert {path.suffix for path in work.path.iterdir()} <= {".lock"}


def test_missing_rows_are_a_defect_not_a_shard(tmp_path):
    work, block = (
        WorkFolder(tmp_path / "map.tif"),
        Block(range(1), range(1), Window(0, 0, 900, 700)),
    )

    def fall_short():
        with writing_shard(work, block, 1) as shard:
            shard.append(np.zeros((1, 600, 700), np.uint8))
            shard.finish({})

    with work.locked():
        with pytest.raises(ValueError, match="600 of 900 rows"):
            fall_short()
        assert missing_blocks(work, [block])
