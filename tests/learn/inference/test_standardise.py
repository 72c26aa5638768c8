"""Bands that an image lacks, on their way into the network."""

from __future__ import annotations

import torch

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry

WHOLE = Radiometry((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))


def test_an_image_without_the_last_band_is_one_whose_last_band_is_not_there():
    image, valid = 50.0 * torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    has_band = torch.tensor([[True, True, False], [True, True, True]])
    standardise = Standardise(WHOLE)
    lacking = standardise(image, valid, has_band)
    assert torch.equal(standardise(image[:, :2], valid)[0], lacking[0])
    assert torch.equal(standardise(image, valid)[1], lacking[1])
    assert (lacking[0, 2] == 0).all()


def test_limits_cut_the_bands_that_are_there():
    limits = ((9.0, 18.0, 26.0), (11.0, 22.0, 34.0))
    standardise = Standardise(Radiometry(WHOLE.mean, WHOLE.std, limits))
    image, valid = torch.full((1, 2, 2, 2), 99.0), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert standardise(image, valid)[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]
