import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.label_sources import RasterLabels, VectorLabels
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import find_pairs
from hyseg_cli.legend import Legend

LEGEND = Legend.from_dict(
    {
        "classes": [
            {"id": 10, "name": "land", "color": "#8429f6"},
            {"id": 20, "name": "water", "color": "#e2a929"},
            {"id": 30, "name": "road", "color": "#101010"},
        ],
        "ignore": [0],
    }
)
PLACE = from_origin(500_000, 5_400_000, 0.5, 0.5)
WHOLE = Window(0, 0, 90, 70)
WINDOWS = [Window(0, 0, 40, 40), Window(13, 7, 64, 51), Window(89, 69, 1, 1)]


@pytest.fixture
def image(write_raster):
    return write_raster(np.zeros((3, 90, 70), np.uint8), "image.tif", transform=PLACE)


def polygons(count=25):
    rng = np.random.default_rng(3)
    centres = np.column_stack([rng.uniform(500_000, 500_035, count), rng.uniform(-45, 0, count)])
    shapes = [
        shapely.Point(x, 5_400_000 + y).buffer(rng.uniform(1, 6), quad_segs=3) for x, y in centres
    ]
    names = rng.choice(["land", "water", "road"], count)
    return gpd.GeoDataFrame({"kind": names}, geometry=shapes, crs="EPSG:32632")


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326"])
@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp"])
def test_polygons_give_the_labels_that_rasterio_burns(tmp_path, image, suffix, crs):
    drawn = polygons().to_crs(crs)
    path = tmp_path / f"labels{suffix}"
    drawn.to_file(path)
    stored = gpd.read_file(path).to_crs("EPSG:32632")
    channel = {"land": 0, "water": 1, "road": 2}
    if suffix == ".fgb":  # it sorts its features by place: the order of the file counts
        stored = gpd.read_file(path).to_crs("EPSG:32632")
    expected = rasterize(
        zip(stored.geometry, [channel[name] for name in stored.kind], strict=True),
        out_shape=(90, 70),
        transform=PLACE,
        fill=255,
        dtype="uint8",
    )
    assert len(np.unique(expected)) == 4
    labels = VectorLabels(path, open_raster(image), LEGEND, "kind")
    np.testing.assert_array_equal(labels.read(WHOLE), expected)
    for window in WINDOWS:
        np.testing.assert_array_equal(labels.read(window), expected[window.slices])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10, 20, 0, 30], {0, 1, 2, 255}),
        ([10.0, 20.0, np.nan, 30.0], {0, 1, 2, 255}),
        (["land", "20", "", None], {0, 1, 255}),
    ],
)
def test_classes_are_known_by_name_or_by_id(tmp_path, image, values, expected):
    boxes = [shapely.box(500_000 + 5 * i, 5_399_990, 500_004 + 5 * i, 5_399_999) for i in range(4)]
    path = tmp_path / "labels.gpkg"
    gpd.GeoDataFrame({"kind": values}, geometry=boxes, crs="EPSG:32632").to_file(path)
    labels = VectorLabels(path, open_raster(image), LEGEND, "kind").read(WHOLE)
    assert set(np.unique(labels).tolist()) == expected
    assert (labels != 255).sum() == len(expected - {255}) * 8 * 18


def write(path, frame):
    frame.to_file(path)
    return path


def test_polygons_that_cannot_serve_are_told(tmp_path, image, write_raster):
    good = polygons()
    scene = open_raster(image)
    with pytest.raises(UsageProblemError, match="no column 'type'") as caught:
        VectorLabels(write(tmp_path / "a.gpkg", good), scene, LEGEND, "type")
    assert "kind" in caught.value.hint
    away = good.set_geometry(good.translate(1e5))
    with pytest.raises(HysegError, match="does not overlap the image"):
        VectorLabels(write(tmp_path / "b.gpkg", away), scene, LEGEND, "kind")
    swamp = good.assign(kind="swamp")
    with pytest.raises(HysegError, match="the class 'swamp' is not in the legend"):
        VectorLabels(write(tmp_path / "c.gpkg", swamp), scene, LEGEND, "kind")
    (tmp_path / "d.gpkg").write_text("this is no GeoPackage")
    with pytest.raises(HysegError, match="cannot be read as a vector file"):
        VectorLabels(tmp_path / "d.gpkg", scene, LEGEND, "kind")
    nowhere = open_raster(write_raster(np.zeros((3, 9, 9), np.uint8), "no.tif", crs=None))
    with pytest.raises(UsageProblemError, match="is not georeferenced"):
        VectorLabels(tmp_path / "a.gpkg", nowhere, LEGEND, "kind")


def test_labels_on_another_grid_are_taken_by_nearest_neighbour(image, write_raster):
    rng = np.random.default_rng(0)
    values = np.kron(rng.choice([10, 20, 30], (9, 8)), np.ones((4, 4), int)).astype(np.uint8)
    coarse = from_origin(9.0001, 48.7525, 1e-5, 1e-5)
    place = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [500_005.0], [5_399_990.0])
    coarse = from_origin(place[0][0], place[1][0], 1e-5, 1e-5)
    labels = write_raster(values, "labels.tif", crs="EPSG:4326", transform=coarse)
    expected = np.zeros((90, 70), np.uint8)
    reproject(
        values, expected, src_transform=coarse, src_crs="EPSG:4326", dst_transform=PLACE,
        dst_crs="EPSG:32632", resampling=Resampling.nearest, init_dest_nodata=True,
    )  # fmt: skip
    channels = np.full(256, 255, np.uint8)
    channels[[10, 20, 30]] = 0, 1, 2
    found = RasterLabels([labels], open_raster(image), LEGEND)
    np.testing.assert_array_equal(found.read(WHOLE), channels[expected])
    assert 0.05 < (found.read(WHOLE) != 255).mean() < 0.95
    for window in WINDOWS:
        np.testing.assert_array_equal(found.read(window), channels[expected][window.slices])


def test_colours_on_another_grid_are_unlabelled_beyond_their_raster(image, write_raster):
    colors = np.zeros((3, 20, 20), np.uint8)
    colors[:] = np.array([0x84, 0x29, 0xF6], np.uint8)[:, None, None]
    labels = write_raster(colors, "labels.tif", transform=from_origin(500_003, 5_399_990, 1, 1))
    found = RasterLabels([labels], open_raster(image), LEGEND).read(WHOLE)
    assert (found == 0).sum() == 40 * 40
    assert set(np.unique(found).tolist()) == {0, 255}


def test_the_first_raster_that_labels_a_pixel_counts(image, write_raster):
    one = np.full((90, 70), 10, np.uint8)
    one[:45] = 0
    other = np.full((90, 70), 20, np.uint8)
    paths = [write_raster(v, f"{i}.tif", transform=PLACE) for i, v in enumerate((one, other))]
    found = RasterLabels(paths, open_raster(image), LEGEND).read(WHOLE)
    assert (found[:45] == 1).all()
    assert (found[45:] == 0).all()


def test_rasters_with_other_names_are_matched_by_place(tmp_path, write_raster):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i, name in enumerate(["a", "b", "c"]):
        place = from_origin(500_000 + 100 * i, 5_400_000, 1, 1)
        write_raster(np.full((3, 50, 50), i, np.uint8), f"images/{name}.tif", transform=place)
        if name != "c":
            write_raster(
                np.full((50, 50), 10 * (i + 1), np.uint8),
                f"labels/sheet{9 - i}.tif",
                transform=place,
            )
    pairs = find_pairs(tmp_path / "images", tmp_path / "labels")
    assert [pair.scene for pair in pairs] == ["a", "b"]
    for i, scene in enumerate(open_pairs(pairs, LEGEND)):
        assert (scene.read(Window(0, 0, 50, 50)).labels == i).all()


def test_a_vector_file_labels_every_image(tmp_path, write_raster):
    (tmp_path / "images").mkdir()
    for i in range(2):
        place = from_origin(500_000 + 20 * i, 5_400_000, 0.5, 0.5)
        write_raster(np.zeros((3, 60, 40), np.uint8), f"images/{i}.tif", transform=place)
    path = tmp_path / "labels.gpkg"
    polygons().to_file(path)
    scenes = open_pairs(find_pairs(tmp_path / "images", path), LEGEND, None, "kind")
    for scene in scenes:
        labels = scene.read(Window(0, 0, 60, 40)).labels
        assert 0.1 < (labels != 255).mean() < 1


def test_labels_of_another_place_are_refused(image, write_raster):
    away = write_raster(np.full((20, 20), 10, np.uint8), "away.tif", crs="EPSG:32633")
    with pytest.raises(HysegError, match="does not overlap the image"):
        RasterLabels([away], open_raster(image), LEGEND)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64"])
def test_labels_of_any_type_end_where_their_raster_ends(image, write_raster, dtype):
    values = np.full((20, 20), 10, dtype)
    labels = write_raster(values, "labels.tif", transform=from_origin(500_003, 5_399_990, 1, 1))
    found = RasterLabels([labels], open_raster(image), LEGEND).read(WHOLE)
    assert (found == 0).sum() == 40 * 40
    assert (found == 255).sum() == 90 * 70 - 40 * 40


def test_labels_of_the_whole_earth_label_a_scene(image, write_raster):
    world = from_origin(-180, 90, 1, 1)
    labels = write_raster(
        np.full((180, 360), 20, np.uint8), "w.tif", crs="EPSG:4326", transform=world
    )
    assert (RasterLabels([labels], open_raster(image), LEGEND).read(WHOLE) == 1).all()


def test_labels_where_the_image_is_empty_do_not_count(write_raster):
    array = np.full((3, 40, 40), 9, np.uint8)
    array[:, :20] = 0
    image = write_raster(array, "empty.tif", nodata=0)
    labels = write_raster(np.full((40, 40), 10, np.uint8), "labels.tif")
    (scene,) = open_pairs(find_pairs(image, labels), LEGEND)
    found = scene.read(Window(0, 0, 40, 40)).labels
    assert (found[:20] == 255).all()
    assert (found[20:] == 0).all()


def test_a_folder_with_one_vector_file_is_that_file(tmp_path, image):
    (tmp_path / "drawn").mkdir()
    polygons().to_file(tmp_path / "drawn" / "labels.gpkg")
    (pair,) = find_pairs(tmp_path / "image.tif", tmp_path / "drawn")
    assert pair.labels == (tmp_path / "drawn" / "labels.gpkg",)
