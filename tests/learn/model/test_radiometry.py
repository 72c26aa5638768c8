import numpy as np
import torch

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry, radiometry_of_sample


def test_values_within_the_limits_have_mean_zero_and_deviation_one():
    sample = np.random.default_rng(0).lognormal(7, 1, (5, 10_000)).astype(np.float32)
    standardise = Standardise(radiometry_of_sample(sample))
    found = standardise(torch.from_numpy(sample)[None, :, :, None], torch.ones(1, 1, 10_000, 1) > 0)
    np.testing.assert_allclose(found.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(dim=(0, 2, 3)), 1, atol=1e-3)


def test_what_lies_beyond_the_limits_counts_as_the_limit():
    standardise = Standardise(Radiometry((10.0,), (2.0,), ((6.0,), (20.0,))))
    image = torch.tensor([5000.0, 20.0, 10.0, 6.0, -300.0, float("nan")]).view(1, 1, 1, 6)
    found = standardise(image, ~image.isnan())
    assert found.flatten().tolist() == [5.0, 5.0, 0.0, -2.0, -2.0, 0.0]


def test_a_band_of_one_value_gives_zeros():
    sample = np.full((2, 100), 7.0, np.float32)
    standardise = Standardise(radiometry_of_sample(sample))
    image = torch.full((1, 2, 10, 10), 7.0)
    assert not standardise(image, torch.ones(1, 1, 10, 10) > 0).any()


def test_8_bit_images_are_not_cut():
    standardise = Standardise(Radiometry((100.0,) * 3, (50.0,) * 3))
    image = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    found = standardise(image, torch.ones(1, 1, 1, 2) > 0)
    np.testing.assert_allclose(found[0, :, 0], np.tile([-2.0, 3.1], (3, 1)), rtol=1e-6)
