"""Pictures kept of what was compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.learn.scores.evaluation import PatchGrid
from hyseg_cli.workflows.evaluate.pictures import Gallery


def show(gallery, reference, maps, *, side=64, name="scene", photo=None):
    gallery.begin(name, *reference.shape, maps=len(maps), has_photo=photo is not None)
    for patch in PatchGrid.cover(*reference.shape, side=side, rim=2):
        part = patch.read.slices
        seen = None if photo is None else photo[part]
        gallery.add(patch, reference[part], [layer[part] for layer in maps], seen)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(5, 60))
def test_a_picture_is_every_so_many_th_pixel_however_the_scene_is_cut(height, width, side, cut):
    rng = np.random.default_rng(height * 100 + width)
    layers = [rng.integers(0, 200, (height, width)).astype(np.uint8) for _ in range(3)]
    gallery = Gallery(side=side)
    photo = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    show(gallery, layers[0], layers[1:], side=cut, photo=photo)
    picture = gallery.pictures[0]
    for found, whole in zip((picture.reference, *picture.maps), layers, strict=True):
        np.testing.assert_array_equal(found, whole[:: picture.step, :: picture.step])
        assert min(found.shape) >= 1
        assert max(found.shape) <= side
    np.testing.assert_array_equal(picture.photo, photo[:: picture.step, :: picture.step])
    assert picture.step == 1 or max(height, width) > side


def test_the_worst_places_are_those_of_a_sort_of_all_patches():
    rng = np.random.default_rng(3)
    gallery, expected = Gallery(most_places=5, most_pictures=2), []
    for scene in range(3):
        reference = rng.integers(0, 3, (200, 260)).astype(np.uint8)
        share = np.kron(rng.random((10, 13)), np.ones((20, 20)))
        found = np.where(rng.random(share.shape) < share, (reference + 1) % 3, reference)
        found = found.astype(np.uint8)
        reference[:40], found[:, :30] = 255, 255
        show(gallery, reference, [found], side=20, name=str(scene))
        known = (reference != 255) & (found != 255)
        for row in range(0, 200, 20):
            for col in range(0, 260, 20):
                part = np.s_[row : row + 20, col : col + 20]
                wrong = int((known & (reference != found))[part].sum())
                expected.append((-wrong, str(scene), row, col, int(known[part].sum())))
    worst = [
        (-p.wrong[0], p.picture.name, p.picture.window.row, p.picture.window.col, p.known)
        for p in gallery.worst()
    ]
    assert worst == sorted(expected)[:5]
    assert [picture.name for picture in gallery.pictures] == ["0", "1"]
    assert gallery.scenes == 3


def test_places_without_an_error_are_not_among_the_worst():
    same = np.ones((130, 130), np.uint8)
    gallery = Gallery()
    show(gallery, same, [same, same])
    assert gallery.worst() == ()
    other = same.copy()
    other[0, 0] = 0
    show(gallery, same, [same, other])
    (place,) = gallery.worst()
    assert (place.wrong, place.known) == ((0, 1), 65 * 65)
    np.testing.assert_array_equal(np.argwhere(place.picture.errors(1) == 1), [[0, 0]])


def test_what_is_unknown_in_either_is_neither_right_nor_wrong():
    gallery = Gallery()
    reference, found = np.array([[1, 1, 255]], np.uint8), np.array([[1, 255, 1]], np.uint8)
    show(gallery, reference, [found])
    np.testing.assert_array_equal(gallery.pictures[0].errors(0), [[0, 255, 255]])


def test_a_patch_without_its_scene_is_a_mistake_of_the_caller():
    (patch,) = PatchGrid.cover(5, 5, side=64, rim=1)
    with pytest.raises(ValueError, match="before its scene"):
        Gallery().add(patch, np.ones((5, 5), np.uint8), [])
