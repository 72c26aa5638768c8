"""The page of `hyseg predict` in a real browser: opacity, classes, confidence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hyseg_cli.legend import parse_color

pytestmark = pytest.mark.browser

DESK = {"width": 1200, "height": 1600}


@pytest.fixture
def opened(mapped, show):
    """The page, and what it complains of or asks for."""

    def open_page(**options):
        page, noise = show(mapped[0], DESK, **options)
        if options.get("java_script_enabled", True):
            page.wait_for_selector(".filter.on")
        return page, noise

    return open_page


def stage_of(page):
    """Colours of the stage (height, width, 3), without the divider."""
    page.locator(".slider input").first.fill("0")
    shown = page.locator(".stage").screenshot()
    return np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)[:, 30:]


def share_of(colors, wanted):
    return float((np.abs(colors - parse_color(wanted)).max(axis=-1) <= 2).mean())


def box(page, index):
    return page.locator(".filter input").nth(index)


def test_each_checkbox_shows_and_hides_its_class(opened):
    page, noise = opened()
    whole = stage_of(page)
    colors = page.locator(".filter input").evaluate_all("es => es.map(e => e.dataset.color)")
    shares = [share_of(whole, color) for color in colors]
    large = [index for index, share in enumerate(shares) if share > 0.005]
    assert len(large) > 2
    for index in large:
        color = colors[index]
        box(page, index).uncheck()
        hidden = stage_of(page)
        assert share_of(hidden, color) < shares[index] / 4
        others = [share_of(hidden, c) for i, c in enumerate(colors) if i != index]
        assert others == pytest.approx([s for i, s in enumerate(shares) if i != index], abs=0.02)
        box(page, index).check()
    assert (stage_of(page) == whole).all()
    assert noise == []


def test_all_and_none_set_every_class(opened):
    page, _ = opened()
    whole = stage_of(page)
    page.get_by_role("button", name="None").click()
    assert page.locator(".filter input:checked").count() == 0
    page.locator("select.right").select_option("Scene")
    scene = stage_of(page)
    page.locator("select.right").select_option("Map")
    assert (stage_of(page) == scene).all()
    page.get_by_role("button", name="All").click()
    assert (stage_of(page) == whole).all()


def test_opacity_mixes_map_and_scene(opened):
    page, noise = opened()
    opacity = page.get_by_label("Opacity")
    above = stage_of(page)
    opacity.fill("0")
    below = stage_of(page)
    assert np.abs(above - below).mean() > 20
    opacity.fill("50")
    assert np.abs(stage_of(page) - (above + below) / 2).max() <= 2
    assert noise == []


def test_the_divider_leaves_the_scene_on_its_left(opened):
    page, _ = opened()
    page.get_by_label("Opacity").fill("0")
    scene = stage_of(page)
    page.get_by_label("Opacity").fill("100")
    mapped = stage_of(page)
    page.get_by_label("Divider").fill("50")
    shown = page.locator(".stage").screenshot()
    half = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)[:, 30:]
    middle = half.shape[1] // 2
    assert (half[:, : middle - 60] == scene[:, : middle - 60]).all()
    assert (half[:, middle + 60 :] == mapped[:, middle + 60 :]).all()


def test_the_confidence_lies_over_the_scene(opened):
    page, noise = opened()
    before = stage_of(page)
    page.locator("select.right").select_option("Confidence")
    after = stage_of(page)
    assert np.abs(after - before).mean() > 10
    assert page.get_by_text("Confidence 0 %").is_visible()
    assert noise == []


def test_hidden_classes_stay_hidden_below_another_layer(opened):
    page, _ = opened()
    box(page, 0).uncheck()
    page.locator("select.left").select_option("Map")
    page.locator("select.right").select_option("Scene")
    assert page.locator("canvas").is_visible()
    assert not page.locator("figure img").nth(1).is_visible()


def test_without_scripts_scene_map_and_confidence_stand_side_by_side(opened, mapped):
    page, _ = opened(java_script_enabled=False)
    titles = page.locator("figcaption:visible").all_text_contents()
    assert titles == ["Scene", "Map", "Confidence"]
    classes = [entry for entry in mapped[1]["classes"] if entry["id"] != 255]
    assert page.locator(".filter input:disabled").count() == len(classes)
    assert not page.get_by_role("button", name="None").is_visible()
