import numpy as np
import pytest
from geo.coverage.coverages import blobs, regions_of
from rasterio.transform import from_origin

from hyseg_cli.errors import HysegError, ModelMismatchError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.vector.confidence import ConfidenceRows, measure_confidence
from hyseg_cli.geo.vector.features import by_class, one_of_each

PLACE = {"crs": "EPSG:32632", "transform": from_origin(5e5, 5.4e6, 1, 1)}


@pytest.fixture
def classes():
    return blobs(300, 40, roughness=1.5)


def measured(write_raster, classes, values, *, grouping=one_of_each, **profile):
    scene = open_raster(write_raster(classes, name="map.tif", **PLACE))
    confidence = ConfidenceRows(write_raster(values, name="conf.tif", **PLACE, **profile), scene)
    source, regions = regions_of(classes)
    groups = grouping(regions)
    found = measure_confidence(source, regions, groups.feature_of_region, confidence)
    confidence.close()
    return groups.feature_of_region, found


def pixels_of(classes, feature_of_region):
    """Rows of (feature, flat index), by an independent labelling."""
    from skimage.measure import label

    labels = label(classes.astype(int) + 1, connectivity=1)
    labels[classes == 255] = 0
    firsts = {n: np.flatnonzero(labels == n)[0] for n in np.unique(labels[labels > 0])}
    numbers = np.zeros(labels.max() + 1, int)
    for new, old in enumerate(sorted(firsts, key=firsts.get), 1):
        numbers[old] = new
    return feature_of_region[numbers[labels]]


@pytest.mark.parametrize("grouping", [one_of_each, by_class])
def test_mean_and_percentile_are_those_of_numpy(write_raster, classes, grouping):
    levels = np.random.default_rng(1).integers(0, 256, classes.shape).astype(np.uint8)
    features, found = measured(write_raster, classes, levels, grouping=grouping, nodata=255)
    numbers = pixels_of(classes, features)
    for feature in np.unique(numbers[numbers > 0]):
        values = levels[(numbers == feature) & (levels != 255)] / 254
        if len(values) == 0:
            assert np.isnan(found.mean[feature])
            assert np.isnan(found.p10[feature])
            continue
        assert found.mean[feature] == pytest.approx(values.mean())
        expected = np.quantile(values, 0.1, method="inverted_cdf")
        assert found.p10[feature] == pytest.approx(expected)


def test_floats_are_taken_to_the_nearest_level(write_raster, classes):
    values = np.random.default_rng(2).random(classes.shape).astype(np.float32)
    values[5, 5] = np.nan
    features, found = measured(write_raster, classes, values)
    numbers = pixels_of(classes, features)
    for feature in np.unique(numbers[numbers > 0]):
        inside = values[(numbers == feature) & np.isfinite(values)]
        if len(inside):
            assert found.mean[feature] == pytest.approx(inside.mean(), abs=1 / 508)


@pytest.mark.parametrize(
    ("values", "profile", "words"),
    [
        (np.zeros((9, 40), np.uint8), PLACE, "not on the grid"),
        (
            np.zeros((300, 40), np.uint8),
            PLACE | {"transform": from_origin(5e5 + 1, 5.4e6, 1, 1)},
            "not on the grid",
        ),
        (np.zeros((300, 40), np.int16), PLACE, "not a confidence raster"),
        (np.zeros((2, 300, 40), np.uint8), PLACE, "not a confidence raster"),
    ],
    ids=["size", "place", "type", "bands"],
)
def test_another_raster_is_refused(write_raster, classes, values, profile, words):
    scene = open_raster(write_raster(classes, name="map.tif", **PLACE))
    with pytest.raises(ModelMismatchError, match=words):
        ConfidenceRows(write_raster(values, name="conf.tif", **profile), scene)


def test_percent_are_no_shares(write_raster, classes):
    with pytest.raises(ModelMismatchError, match="outside 0 to 1"):
        measured(write_raster, classes, np.full(classes.shape, 87.0, np.float32))


def test_a_missing_raster_is_told(write_raster, classes, tmp_path):
    scene = open_raster(write_raster(classes, name="map.tif", **PLACE))
    with pytest.raises(HysegError, match="no such file"):
        ConfidenceRows(tmp_path / "none.tif", scene)
