import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hyseg_models.prior.noise import position_noise


def field(row, col, height, width, *, channels=3, seed=0):
    return position_noise(torch.tensor([[row, col]]), channels, height, width, seed)[0]


def test_it_is_standard_normal():
    values = field(0, 0, 256, 256, channels=7).double()
    assert abs(values.mean()) < 5e-3
    assert abs(values.std() - 1) < 5e-3
    assert abs((values**4).mean() - 3) < 0.05
    assert stats.kstest(values.flatten()[:20000].numpy(), "norm").pvalue > 1e-3


def test_neighbours_and_channels_are_uncorrelated():
    values = field(0, 0, 256, 256, channels=4)
    for one, other in (
        (values[:, 1:], values[:, :-1]),
        (values[..., 1:], values[..., :-1]),
        (values[1:], values[:-1]),
    ):
        correlation = np.corrcoef(one.flatten(), other.flatten())[0, 1]
        assert abs(correlation) < 1e-2


@given(
    row=st.integers(-(10**7), 10**7),
    col=st.integers(-(10**7), 10**7),
    down=st.integers(0, 9),
    right=st.integers(0, 9),
)
def test_windows_of_one_field_agree_where_they_overlap(row, col, down, right):
    whole = field(row, col, 12, 14)
    part = field(row + down, col + right, 12 - down, 14 - right)
    assert torch.equal(whole[:, down:, right:], part)


def test_samples_of_a_batch_have_their_own_place():
    both = position_noise(torch.tensor([[0, 0], [3, 4]]), 2, 8, 8, seed=1)
    assert torch.equal(both[0, :, 3:, 4:], both[1, :, :5, :4])


def test_another_seed_is_another_field():
    one, other = field(0, 0, 64, 64), field(0, 0, 64, 64, seed=1)
    assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 2e-2


def test_rows_and_columns_are_not_mixed_up():
    values = field(0, 0, 16, 16)
    assert not torch.equal(values, values.transpose(-1, -2))
