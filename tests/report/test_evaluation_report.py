"""`hyseg evaluate --report`: the page without a browser."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pyproj
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from hyseg_cli.cli.group import cli

VOID = {"meta", "img", "input", "link", "br"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}
NOT_SHOWN = {"patch_px", "blocks", "boundary_px", "mean_patch_px"}
"""Numbers of the protocol that stand in sentences; they are tested as such."""


class Page(HTMLParser):
    """What a browser would show, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.words, self.loaded, self.elements, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.loaded += [value for name, value in attributes if name in LOADING]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def shows(page, value):
    """Whether a number stands on the page in one of the ways it may be written."""
    written = {f"{value:.3f}", f"{value:,.0f}", f"{value:.0f}", f"{value:.4f}", f"{value:,.2f}",
               f"{100 * value:.2f}"}  # fmt: skip
    if isinstance(value, int):
        written = {f"{value:,}"}
    return any(re.search(rf"(?<![\d.,]){re.escape(w)}(?![\d])", page.text) for w in written)


def leaves(value, name=""):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, name)
    else:
        yield name, value


def require_numbers(page, values):
    for name, value in leaves(values):
        if value is None:
            assert "n/a" in page.text
        elif isinstance(value, int | float) and not isinstance(value, bool):
            assert name in NOT_SHOWN or shows(page, value), f"{name} {value}"


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "report.html"


def test_a_report_shows_all_numbers(out, pair, evaluate):
    values = evaluate(
        pair[0], "--reference", pair[1], "--structure", "--kappa", "--patch-size", 100,
        "--report", out,
    )  # fmt: skip
    page = read(out)
    require_numbers(page, values)
    assert "boundaries of 3 px" in page.text
    assert "Pontius" in page.text
    assert "; model 0123456789abcdef" in page.text


def test_a_report_of_two_maps_shows_both_and_their_differences(out, pair, write_map, evaluate):
    from_scratch = np.random.default_rng(1).integers(0, 3, (300, 360)).astype(np.uint8)
    other = write_map(from_scratch, "other.tif")
    values = evaluate(pair[0], other, "--reference", pair[1], "--patch-size", 64, "--report", out)
    page = read(out)
    require_numbers(page, values)
    assert f"bootstrap over {values['blocks']} patches of nearly 64 pixels" in page.text
    assert "lower than that of the first" in page.text
    assert {"First map", "Second map", "Errors of the second map"} <= set(page.words)


def test_a_report_shows_reliability(out, pair, probabilities, evaluate):
    values = evaluate(
        pair[0], "--reference", pair[1], "--probabilities", probabilities, "--report", out
    )
    page = read(out)
    require_numbers(page, values)
    assert sum(svg.get("class") == "diagram" for svg in page.all("svg")) == 1


def test_a_report_of_samples_shows_areas_with_intervals(out, pair, points, evaluate):
    values = evaluate(pair[0], "--samples", points, "--report", out)
    page = read(out)
    require_numbers(page, values)
    assert sum(svg.get("class") == "whisker" for svg in page.all("svg")) == len(values["classes"])
    assert all(reason in page.text for reason in values["left_out"])


def test_a_page_loads_nothing_and_escapes_what_it_is_given(out, pair, evaluate):
    evaluate(pair[0], "--reference", pair[1], "--report", out)
    text, page = out.read_text(encoding="utf-8"), read(out)
    assert "<water>" not in text
    assert "open &lt;water&gt; &amp; &#34;ice&#34;" in text
    assert 'open <water> & "ice"' in page.text
    assert page.loaded
    assert all(re.match("data:image/(png|jpeg);base64,", value) for value in page.loaded)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest", text)
    assert [meta["content"] for meta in page.all("meta") if "http-equiv" in meta] == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    ]


def test_everything_has_a_name(out, pair, probabilities, evaluate):
    evaluate(pair[0], "--reference", pair[1], "--probabilities", probabilities, "--structure",
             "--report", out)  # fmt: skip
    page = read(out)
    assert len(page.all("h1")) == 1
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert all(image["alt"] for image in page.all("img"))
    assert all("aria-hidden" in svg or "aria-label" in svg for svg in page.all("svg"))
    assert all("scope" in heading for heading in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def pictures(path):
    for image in read(path).all("img"):
        data = base64.b64decode(image["src"].partition(",")[2])
        yield image["alt"], np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_pictures_have_the_colours_of_the_legend_and_are_empty_where_nothing_is_known(
    out, pair, classes, evaluate
):
    evaluate(pair[0], "--reference", pair[1], "--report", out)
    shown = list(pictures(out))[:3]
    assert [alt.partition(":")[0] for alt, _ in shown] == ["Map", "Reference", "Errors"]
    colors = np.array([[0x20, 0x60, 0xC0], [0xC0, 0xA0, 0x60], [0x70] * 3], np.uint8)
    for (_, picture), expected in zip(shown, classes, strict=False):
        known = expected != 255
        np.testing.assert_array_equal(picture[..., 3], np.where(known, 255, 0))
        np.testing.assert_array_equal(picture[known][:, :3], colors[expected[known]])
    errors, (found, truth) = shown[2][1], classes
    known = (found != 255) & (truth != 255)
    np.testing.assert_array_equal(errors[..., 3] == 255, known)
    is_red = errors[..., 0].astype(int) - errors[..., 1] > 100
    np.testing.assert_array_equal(is_red & known, known & (found != truth))


def test_large_maps_are_shown_reduced(out, write_map, evaluate):
    wide = np.zeros((40, 4000), np.uint8)
    wide[:, 1999:] = 1
    path = write_map(wide, "wide.tif")
    evaluate(path, "--reference", path, "--report", out)
    picture = next(pictures(out))[1]
    np.testing.assert_array_equal(picture[..., :3][0, [0, 666, 667, -1], 0], [32, 32, 192, 192])
    assert picture.shape == (14, 1334, 4)
    assert "one of 3 rows and columns is shown" in read(out).text


def test_the_worst_place_is_shown_with_where_it_is(out, write_map, evaluate):
    truth = np.zeros((300, 400), np.uint8)
    found = truth.copy()
    found[250:, 310:] = 1
    evaluate(write_map(found, "map.tif"), "--reference", write_map(truth, "truth.tif"),
             "--patch-size", 100, "--report", out)  # fmt: skip
    text = read(out).text
    assert "1. map.tif, row 200, column 300" in text
    assert "45.0 % of 10,000 pixels differ" in text
    # The middle of the patch, half a metre a pixel from 500,000 and 5,400,000.
    assert "middle at 500175, 5399875 (WGS 84 / UTM zone 32N), " in text
    lon, lat = pyproj.Proj("EPSG:32632")(500175, 5399875, inverse=True)
    assert f"{lat:.5f}° N, {lon:.5f}° E" in text


def test_maps_without_a_place_have_a_report_too(out, tmp_path, write_raster, evaluate):
    for name in ("map.png", "truth.png"):
        Image.fromarray(np.eye(50, dtype=np.uint8)).save(tmp_path / name)
    legend = tmp_path / "legend.csv"
    legend.write_text("id,name,color\n0,off,#101010\n1,diagonal,#f0f0f0\n")
    evaluate(tmp_path / "map.png", "--reference", tmp_path / "truth.png", "--legend", legend,
             "--report", out)  # fmt: skip
    page = read(out)
    assert "agrees with the reference on 100.0 % of 2,500 pixels" in page.text
    assert "Worst places" not in page.text


def test_a_model_has_a_report_of_its_scenes(out, scene_folder, tiny_model, evaluate):
    values = evaluate(
        "--images", scene_folder / "images", "--labels", scene_folder / "labels",
        "--model", tiny_model, "--tile-size", 128, "--device", "cpu", "--report", out,
    )  # fmt: skip
    page = read(out)
    require_numbers(page, values)
    headings = [word.strip() for word in page.words]
    assert {"east.tif", "west.tif"} <= set(headings)
    assert str(tiny_model) in page.text
    (_, east), *_ = [picture for picture in pictures(out) if picture[0] == "Image that was mapped"]
    with rasterio.open(scene_folder / "images" / "east.tif") as file:
        image = np.moveaxis(file.read(), 0, -1)
    # JPEG keeps colours nearly.
    assert np.abs(east[..., :3].astype(int) - image).mean() < 6


def test_outputs_that_stand_are_kept(out, pair, points, evaluate):
    out.write_text("mine")
    for arguments in (["--reference", pair[1]], ["--samples", points]):
        command = ["evaluate", pair[0], *arguments, "--report", out]
        refused = CliRunner().invoke(cli, [str(part) for part in command])
        assert (refused.exit_code, "--overwrite" in refused.stderr) == (3, True)
        assert out.read_text() == "mine"
        evaluate(*command[1:], "--overwrite")
        assert out.read_text().startswith("<!doctype html>")
        out.write_text("mine")


def test_a_report_is_a_page(pair, tmp_path):
    for arguments in (["--reference", "r.tif"], ["--samples", "p.gpkg"]):
        command = ["evaluate", str(pair[0]), *arguments, "--report", str(tmp_path / "report.pdf")]
        result = CliRunner().invoke(cli, command)
        assert (result.exit_code, ".html" in result.stderr) == (2, True)


def test_a_report_is_written_before_a_threshold_fails(out, pair):
    command = ["evaluate", *map(str, (pair[0], "--reference", pair[1], "--report", out))]
    result = CliRunner().invoke(cli, [*command, "--fail-under", "miou=0.999"])
    assert result.exit_code == 5
    assert out.exists()
