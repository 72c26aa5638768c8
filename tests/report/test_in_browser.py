"""The page in a real browser: silent, without requests, as wide as the screen, and the swipe."""

from __future__ import annotations

import io

import pytest
from PIL import Image

pytestmark = pytest.mark.browser

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1200, "height": 900}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "report.html"


@pytest.fixture(params=["one map", "two maps", "points", "a prediction"])
def report(request, out, pair, probabilities, points, evaluate):
    if request.param == "a prediction":
        return request.getfixturevalue("mapped")[0]
    reference = ("--reference", pair[1], "--report", out)
    if request.param == "one map":
        evaluate(pair[0], *reference, "--structure", "--kappa", "--probabilities", probabilities)
    elif request.param == "two maps":
        evaluate(pair[0], pair[1], *reference, "--structure", "--patch-size", 64)
    else:
        evaluate(pair[0], "--samples", points, "--report", out)
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_silent_and_as_wide_as_the_screen(report, show, scheme):
    for viewport in (PHONE, DESK):
        page, noise = show(report, viewport, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        outside = page.evaluate(
            """[...document.querySelectorAll("body *")]
            .filter(e => !e.closest(".scroll, .stage"))
            .filter(e => e.getBoundingClientRect().right > innerWidth)
            .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert outside == []
        assert noise == []


CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const paint = (colors) => {  // what the colours look like, laid over each other
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const found = [];
  const texts = "h1, h2, h3, p, th, td, small, dt, dd, li, label, button, figcaption, footer, " +
    "span.value, text";
  for (const e of document.querySelectorAll(texts)) {
    const below = [];
    for (let p = e; p; p = p.parentElement) below.unshift(getComputedStyle(p).backgroundColor);
    const style = getComputedStyle(e);
    const ink = e.tagName === "text" ? style.fill : style.color;
    const [paper, print] = [luminance(paint(below)), luminance(paint([...below, ink]))];
    const ratio = (Math.max(paper, print) + .05) / (Math.min(paper, print) + .05);
    found.push([ratio, e.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(report, show, scheme):
    page, _ = show(report, DESK, color_scheme=scheme)
    least, text = page.evaluate(CONTRASTS)
    assert least >= 4.5, text


@pytest.fixture
def swipe(out, pair, evaluate, show):
    """The first swipe of a report, its slider and its stage."""
    evaluate(pair[0], "--reference", pair[1], "--report", out)

    def open_swipe(viewport=DESK, **options):
        page, noise = show(out, viewport, **options)
        found = page.locator(".swipe").first
        found.scroll_into_view_if_needed()
        return page, found, noise

    return open_swipe


def divider_share(found):
    """Where the divider stands on the stage, from 0 to 1."""
    stage, divider = (found.locator(s).bounding_box() for s in (".stage", ".divider"))
    return (divider["x"] + divider["width"] / 2 - stage["x"]) / stage["width"]


def colors_beside(page, found, share):
    """Colours of the stage a little left and right of a place."""
    picture = Image.open(io.BytesIO(found.locator(".stage").screenshot())).convert("RGB")
    at, row = round(share * picture.width), 12
    return picture.getpixel((at - 30, row)), picture.getpixel((at + 30, row))


def test_the_swipe_follows_the_mouse(swipe):
    page, found, noise = swipe()
    assert divider_share(found) == pytest.approx(0.5, abs=0.01)
    box = found.locator(".stage").bounding_box()
    row = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + box["width"] / 2, row)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], row, steps=4)
    assert divider_share(found) == pytest.approx(0.8, abs=0.01)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.1 * box["width"], row)
    assert divider_share(found) == pytest.approx(0.8, abs=0.01)
    assert found.locator("input").input_value() == "80"
    assert noise == []


def test_the_swipe_follows_a_finger(swipe):
    page, found, _ = swipe(PHONE, has_touch=True, is_mobile=True)
    box = found.locator(".stage").bounding_box()
    page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
    assert divider_share(found) == pytest.approx(0.25, abs=0.02)


def test_the_swipe_follows_the_keyboard(swipe):
    page, found, _ = swipe()
    slider = found.locator("input")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert divider_share(found) == pytest.approx(0.4, abs=0.01)
    page.keyboard.press("End")
    assert divider_share(found) == pytest.approx(1.0, abs=0.01)
    assert "Map 100 %" in slider.get_attribute("aria-valuetext")


def test_each_side_shows_what_is_chosen_for_it(swipe):
    page, found, _ = swipe()
    found.locator("select.left").select_option("Errors")
    found.locator("select.right").select_option("Reference")
    assert found.locator("figcaption:visible").count() == 0  # the names stand in the lists
    assert found.locator("figure:visible img").evaluate_all("is => is.map(i => i.alt)") == [
        found.locator("img").nth(1).get_attribute("alt"),
        found.locator("img").nth(2).get_attribute("alt"),
    ]
    errors, reference = colors_beside(page, found, 0.5)
    assert errors in {(184, 191, 199), (200, 16, 46)}
    assert reference in {(0x20, 0x60, 0xC0), (0xC0, 0xA0, 0x60), (0x70, 0x70, 0x70)}


def test_without_scripts_all_pictures_stand_side_by_side(swipe):
    _, found, _ = swipe(java_script_enabled=False)
    assert found.locator("figure:visible").count() == 3
    assert found.locator("figcaption:visible").all_text_contents() == ["Map", "Reference", "Errors"]
    assert not found.locator(".controls").is_visible()
