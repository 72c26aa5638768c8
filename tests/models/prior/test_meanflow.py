from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyseg_models.config.prior_config import ObjectiveConfig, TimeConfig
from hyseg_models.prior.meanflow import (
    _central_difference,
    _jvp,
    draw_times,
    gap_growth,
    meanflow_loss,
    posterior_mean,
    sample,
)

OPEN = ObjectiveConfig(fm_warmup=0.0, ramp=0.0)


def toy_average_velocity(x, r, t, _rows=None, *, grid=400):
    """The exact average velocity of the flow to x in {-1, +1} with equal odds, per element.

    Of the marginal flow v(x, t) = E[e - x0 | x_t = x]: integrated from t down to r.
    """
    steps = grid
    state = x.clone()
    step = (t - r) / steps
    for k in range(steps):
        time = (t - k * step).view(-1, 1, 1, 1)
        state = state - step.view(-1, 1, 1, 1) * marginal_velocity(state, time)
    gap = (t - r).view(-1, 1, 1, 1)
    return torch.where(
        gap > 0, (x - state) / gap.clamp_min(1e-12), marginal_velocity(x, t.view(-1, 1, 1, 1))
    )


def marginal_velocity(x, t):
    t = t.clamp(1e-4, 1.0)
    mean = torch.tanh((1 - t) * x / t.square())
    return (x - mean) / t


class TinyNet(torch.nn.Module):
    """u(x, r, t) elementwise, a small perceptron."""

    def __init__(self, width=64):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(3, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, 1),
        )

    def forward(self, x, r, t, _rows=None):
        times = [s.view(-1, 1, 1, 1).expand_as(x) for s in (r, t)]
        predicted = self.body(torch.stack([x, *times], dim=-1)).squeeze(-1)
        return (x - predicted) / t.clamp_min(0.05).view(-1, 1, 1, 1)


def batch(size=6, dtype=torch.float64):
    data = torch.randn(size, 2, 3, 3, dtype=dtype).sign()
    return data, torch.ones(size, 1, 3, 3, dtype=dtype), torch.randn_like(data)


def test_the_jvp_is_the_derivative_along_the_path():
    net = TinyNet().double()
    x, _, tangent = batch()
    r = torch.rand(6, dtype=torch.float64) * 0.4
    t = r + 0.5
    rows = torch.arange(6)
    _, exact = _jvp(net, x, r, t, tangent, rows)
    step = 1e-5
    later = net(x + step * tangent, r, t + step)
    earlier = net(x - step * tangent, r, t - step)
    torch.testing.assert_close(exact, (later - earlier) / (2 * step), rtol=1e-6, atol=1e-6)
    _, coarse = _central_difference(net, x, r, t, tangent, rows)
    torch.testing.assert_close(coarse, exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("jvp", ["split_subset", "graph", "fd"])
def test_with_equal_times_it_is_flow_matching(jvp):
    net = TinyNet().double()
    data, weight, noise = batch()
    t = torch.rand(6, dtype=torch.float64)
    times = draw_times(6, TimeConfig(), objective=OPEN)
    times = type(times)(t, t)
    config = ObjectiveConfig(p=0.0, jvp=jvp)
    found = meanflow_loss(net, data, weight, noise, times, config)
    state = (1 - t.view(-1, 1, 1, 1)) * data + t.view(-1, 1, 1, 1) * noise
    expected = (net(state, t, t) - (noise - data)).square().mean()
    torch.testing.assert_close(found.loss, expected)


@pytest.mark.parametrize("tangent", ["cond", "pred_v"])
def test_all_ways_to_the_derivative_give_the_same_gradient(tangent):
    data, weight, noise = batch()
    times = draw_times(6, TimeConfig(endpoint_quota=0.3), objective=OPEN)
    times = type(times)(times.r.double(), times.t.double())
    net = TinyNet().double()
    gradients = {}
    for jvp in ("split_subset", "graph", "fd"):
        config = ObjectiveConfig(jvp=jvp, tangent=tangent)
        loss = meanflow_loss(net, data, weight, noise, times, config).loss
        gradients[jvp] = torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, net.parameters())]
        )
    torch.testing.assert_close(gradients["graph"], gradients["split_subset"])
    torch.testing.assert_close(gradients["fd"], gradients["split_subset"], rtol=1e-3, atol=1e-4)


def test_the_exact_average_velocity_has_no_error_left():
    # The regression target of the true u, with its own velocity as tangent, is u itself.
    x = torch.linspace(-1.5, 1.5, 8, dtype=torch.float64).view(8, 1, 1, 1)
    r = torch.full((8,), 0.3, dtype=torch.float64)
    t = torch.full((8,), 0.8, dtype=torch.float64)
    velocity = marginal_velocity(x, t.view(-1, 1, 1, 1))
    u, derivative = _jvp(toy_average_velocity, x, r, t, velocity, torch.arange(8))
    torch.testing.assert_close(u, velocity - 0.5 * derivative, rtol=2e-2, atol=2e-2)


def test_cells_without_weight_do_not_count():
    net = TinyNet().double()
    data, weight, noise = batch()
    weight[:, :, 0] = 0.0
    weight[2] = 0.0
    spoiled = data.clone()
    spoiled[:, :, 0] = 50.0
    spoiled[2] = 50.0
    times = draw_times(6, TimeConfig(), objective=OPEN)
    times = type(times)(times.r.double(), times.t.double())
    losses = [
        meanflow_loss(net, values, weight, noise, times, ObjectiveConfig()).loss
        for values in (data, spoiled)
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_one_step_sampling_subtracts_the_average_velocity():
    noise = torch.randn(4, 1, 2, 2)
    drawn = sample(lambda x, r, t, _: x * 0 + (t - r).view(-1, 1, 1, 1) * 3, noise)
    torch.testing.assert_close(drawn, noise - 3)


def test_many_exact_steps_end_where_one_exact_step_does():
    noise = torch.randn(16, 1, 1, 1, dtype=torch.float64)
    one, four = (sample(toy_average_velocity, noise, nfe=nfe) for nfe in (1, 4))
    torch.testing.assert_close(one, four, atol=2e-2, rtol=2e-2)


def test_the_posterior_mean_of_the_toy_is_its_mean():
    noise = torch.randn(16, 1, 1, 1, dtype=torch.float64)
    mean = posterior_mean(toy_average_velocity, noise)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-9, rtol=0)


@pytest.mark.slow
def test_a_trained_network_reaches_the_two_points_in_one_step():
    net = TinyNet(128)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    config = ObjectiveConfig(fm_warmup=0.1, ramp=0.3)
    law = TimeConfig(kind="uniform", ratio=0.5, endpoint_quota=0.25)
    steps = 4000
    for step in range(steps):
        progress = step / steps
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - progress)
        data = torch.randn(256, 1, 1, 1).sign()
        times = draw_times(256, law, objective=config, progress=progress)
        loss = meanflow_loss(
            net,
            data,
            torch.ones_like(data),
            torch.randn_like(data),
            times,
            config,
            progress=progress,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        drawn = sample(net, torch.randn(4096, 1, 1, 1)).flatten()
    assert ((drawn.abs() - 1).abs() < 0.2).float().mean() > 0.8
    assert abs((drawn > 0).float().mean() - 0.5) < 0.05


@given(
    size=st.integers(1, 40),
    kind=st.sampled_from(["v1", "logit_normal", "uniform"]),
    ratio=st.floats(0, 1),
    endpoint=st.floats(0, 0.5),
    mean=st.floats(0, 0.5),
    progress=st.floats(0, 1),
)
def test_times_are_ordered_and_in_range(size, kind, ratio, endpoint, mean, progress):
    config = TimeConfig(kind=kind, ratio=ratio, endpoint_quota=endpoint, mean_quota=mean)
    times = draw_times(size, config, objective=ObjectiveConfig(), progress=progress)
    assert (times.r >= 0).all()
    assert (times.r <= times.t).all()
    assert (times.t <= 1).all()
    if progress <= 0.1:
        assert torch.equal(times.r, times.t)


def test_quotas_are_counts_not_coin_tosses():
    config = TimeConfig(kind="uniform", ratio=0.5, endpoint_quota=0.10, mean_quota=0.05)
    for _ in range(20):
        times = draw_times(40, config, objective=OPEN)
        endpoints = ((times.r == 0) & (times.t == 1)).sum()
        means = ((times.r == 1) & (times.t == 1)).sum()
        assert 4 <= endpoints <= 5
        assert 2 <= means <= 3
        # half of the 33 to 34 others
        assert 16 <= (times.r < times.t).sum() - endpoints <= 18


def test_small_batches_meet_the_quota_on_average():
    config = TimeConfig(endpoint_quota=0.10)
    draws = [draw_times(4, config, objective=OPEN) for _ in range(500)]
    share = sum(((d.r == 0) & (d.t == 1)).sum().item() for d in draws) / 2000
    assert share == pytest.approx(0.10, abs=0.025)


def test_the_curriculum_opens_the_gap_after_the_warm_up():
    config = ObjectiveConfig(fm_warmup=0.1, ramp=0.3)
    growth = [gap_growth(p, config) for p in (0.0, 0.1, 0.25, 0.4, 1.0)]
    assert growth == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_alpha_needs_no_derivative_and_starts_as_flow_matching():
    net = TinyNet().double()
    data, weight, noise = batch()
    times = draw_times(6, TimeConfig(), objective=OPEN)
    times = type(times)(times.r.double(), times.t.double())
    alpha = ObjectiveConfig(jvp="alpha", p=0.0)
    loss = meanflow_loss(net, data, weight, noise, times, alpha, progress=0.0).loss
    t = times.t.view(-1, 1, 1, 1)
    state = (1 - t) * data + t * noise
    expected = (net(state, times.r, times.t) - (noise - data)).square().mean()
    torch.testing.assert_close(loss, expected)


def test_the_objective_is_the_same_under_autocast():
    net = TinyNet()
    data, weight, noise = batch(dtype=torch.float32)
    times = draw_times(6, TimeConfig(), objective=OPEN)
    loss = partial(meanflow_loss, net, data, weight, noise, times, ObjectiveConfig())
    plain = loss().loss
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss().loss
    assert torch.equal(plain, cast)
