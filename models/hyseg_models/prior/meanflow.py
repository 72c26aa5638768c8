"""MeanFlow: learn the average velocity of a flow, and sample it in one step.

The path is x_t = (1 - t) x + t e from data (t = 0) to noise (t = 1), with velocity v = e - x.
The average velocity over [r, t],

    u(x_t, r, t) = 1 / (t - r) * integral_r^t v(x_s, s) ds,

obeys u = v - (t - r) du/dt, where du/dt is the total derivative along the path: one Jacobian-
vector product of u at (x_t, r, t) in the direction (v, 0, 1). A network u_theta regresses on
the right-hand side with the gradient stopped. One evaluation then samples: x = e - u(e, 0, 1).

Source: Geng et al. 2025, Mean Flows for One-step Generative Modeling; the predicted tangent is
that of improved MeanFlow (2025); `alpha` follows AlphaFlow (2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hyseg_models.blocks.layers import in_single
from hyseg_models.config.prior_config import ObjectiveConfig, TimeConfig


class Velocity(Protocol):
    """The average velocity of some samples of a batch."""

    def __call__(self, x: Tensor, r: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """u at x (B', C, h, w) and times r, t (B',), for the samples `rows` (B',) of a batch."""
        ...


@dataclass(frozen=True)
class Times:
    """Drawn times of a batch, 0 <= r <= t <= 1, each (B,)."""

    r: Tensor
    t: Tensor


@dataclass(frozen=True)
class MeanFlowLoss:
    """The objective and what to watch while it falls."""

    loss: Tensor
    """Scalar with gradient."""
    squared_error: Tensor
    """Mean squared error of each sample over its labelled cells (B,), in label-scale units."""
    times: Times
    speed_ratio: Tensor
    """Scalar: root mean square of (t - r) du/dt over that of v, on the samples with r < t."""


def draw_times(
    batch: int,
    config: TimeConfig,
    *,
    progress: float = 1.0,
    objective: ObjectiveConfig,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> Times:
    """Draw r <= t for a batch, with exact counts instead of coin tosses.

    The first `endpoint_quota` of a shuffled batch is set to (0, 1) and the next `mean_quota` to
    (1, 1); among the rest, r = t except for a share `ratio`. Counts are rounded down plus one
    with the probability of the remainder, so that small batches meet the quotas on average.

    Args:
        batch: Number of samples B.
        config: The law of the times.
        progress: Share of the training done, in [0, 1]; during the warm-up all samples have
            r = t, then the ratio and the largest gap t - r grow to their final values.
        objective: Holds the lengths of warm-up and ramp.
        device: Where the times live.
        generator: Source of randomness, on the same device.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device, generator=generator)

    def logit_normal(mean: float, std: float) -> Tensor:
        draws = torch.randn(batch, device=device, generator=generator)
        return torch.sigmoid(mean + std * draws)

    def count(share: float) -> int:
        return int(share * batch + float(uniform(1)))

    if config.kind == "v1":
        t, r = logit_normal(*config.t), logit_normal(*config.r)
        r = torch.minimum(r, t)
    else:
        one, other = (
            uniform(batch) if config.kind == "uniform" else logit_normal(*config.t)
            for _ in range(2)
        )
        t, r = torch.maximum(one, other), torch.minimum(one, other)

    growth = gap_growth(progress, objective)
    r = torch.maximum(r, t - growth)
    order = torch.rand(batch, device=device, generator=generator).argsort()
    endpoints = count(config.endpoint_quota * growth)
    means = count(config.mean_quota)
    free = batch - endpoints - means
    gapped = min(free, count(config.ratio * growth * max(free, 0) / batch))
    equal = order[endpoints + means + gapped :]
    r[equal] = t[equal]
    r[order[:endpoints]], t[order[:endpoints]] = 0.0, 1.0
    r[order[endpoints : endpoints + means]] = t[order[endpoints : endpoints + means]] = 1.0
    return Times(r, t)


def gap_growth(progress: float, config: ObjectiveConfig) -> float:
    """How far the curriculum has opened the gap t - r: 0 in the warm-up, 1 after the ramp."""
    if config.ramp == 0:
        return float(progress >= config.fm_warmup)
    return min(1.0, max(0.0, (progress - config.fm_warmup) / config.ramp))


def meanflow_loss(
    velocity: Velocity,
    data: Tensor,
    weight: Tensor,
    noise: Tensor,
    times: Times,
    config: ObjectiveConfig,
    *,
    scale: float = 1.0,
    progress: float = 1.0,
) -> MeanFlowLoss:
    """The MeanFlow regression of a batch, in float32 whatever the autocast type.

    `config.jvp` chooses how du/dt is found: `graph` differentiates one JVP of the whole batch;
    `split_subset` takes u from an ordinary forward pass and the JVP, without a graph, only of
    the samples with r < t (the others multiply it by zero); `fd` replaces that JVP by a central
    difference; `alpha` needs no derivative and mixes the velocity with the network's own later
    average, weighted by a factor annealed from one to 0.05.

    Args:
        velocity: The average velocity of the network.
        data: Embedded labels m (B, C, h, w).
        weight: Weight of each cell (B, 1, h, w); samples without weight are dropped.
        noise: Standard normal e, as `data`.
        times: r and t of each sample.
        config: Objective settings.
        scale: Root mean square of the data, the unit of the error.
        progress: Share of the training done, for `alpha`.
    """
    with in_single(data):
        r, t = times.r, times.t
        state = (1.0 - _expand(t)) * data + _expand(t) * noise
        direct = noise - data
        rows = torch.arange(len(data), device=data.device)
        if config.jvp == "alpha":
            alpha = max(0.05, 1.0 - gap_growth(progress, config))
            u, target = _alpha_target(velocity, state, direct, times, rows, alpha)
            speed_ratio = direct.new_zeros(())
        else:
            u, derivative = _velocity_and_derivative(velocity, state, direct, times, rows, config)
            correction = _expand(t - r) * derivative
            target = direct - correction
            gapped = t > r
            speed_ratio = _rms(correction[gapped]) / _rms(direct[gapped]).clamp_min(1e-12)
            alpha = 1.0
        mass = weight.sum(dim=(1, 2, 3))
        squared = (weight * (u - target.detach()).square()).sum(dim=(1, 2, 3))
        error = squared / (data.shape[1] * mass).clamp_min(1e-12) / scale**2  # (B,)
        adaptive = (error.detach() + config.c).pow(-config.p) / alpha
        counted = (mass > 0).float()
        loss = (counted * adaptive * error).sum() / counted.sum().clamp_min(1.0)
        return MeanFlowLoss(loss, error.detach(), times, speed_ratio.detach())


def sample(velocity: Velocity, noise: Tensor, *, nfe: int = 1) -> Tensor:
    """Data from noise in `nfe` steps of equal length; one step is f = e - u(e, 0, 1)."""
    rows = torch.arange(len(noise), device=noise.device)
    state = noise
    for step in range(nfe):
        t = noise.new_full((len(noise),), 1.0 - step / nfe)
        r = noise.new_full((len(noise),), 1.0 - (step + 1) / nfe)
        state = state - _expand(t - r) * velocity(state, r, t, rows)
    return state


def posterior_mean(velocity: Velocity, noise: Tensor) -> Tensor:
    """The mean of the data given the condition, e - u(e, 1, 1).

    So it is of the exact average velocity, whatever the noise. That of a network still depends on
    the noise, unless the network cannot see it there (`prior.net.noise_gate`).
    """
    rows = torch.arange(len(noise), device=noise.device)
    one = noise.new_ones(len(noise))
    return noise - velocity(noise, one, one, rows)


def _velocity_and_derivative(
    velocity: Velocity,
    state: Tensor,
    direct: Tensor,
    times: Times,
    rows: Tensor,
    config: ObjectiveConfig,
) -> tuple[Tensor, Tensor]:
    """u and its total derivative du/dt along the path; zero where r = t, unless `graph`."""
    r, t = times.r, times.t
    if config.jvp == "graph":
        tangent = _tangent(velocity, state, direct, t, rows, config)
        return _jvp(velocity, state, r, t, tangent, rows)
    u = velocity(state, r, t, rows)
    derivative = torch.zeros_like(direct)
    gapped = torch.nonzero(t > r).flatten()
    if len(gapped) > 0:
        with torch.no_grad():
            x, r, t = state[gapped], r[gapped], t[gapped]
            tangent = _tangent(velocity, x, direct[gapped], t, gapped, config)
            difference = _central_difference if config.jvp == "fd" else _jvp
            derivative[gapped] = difference(velocity, x, r, t, tangent, gapped)[1]
    return u, derivative


def _tangent(
    velocity: Velocity,
    state: Tensor,
    direct: Tensor,
    t: Tensor,
    rows: Tensor,
    config: ObjectiveConfig,
) -> Tensor:
    if config.tangent == "cond":
        return direct
    with torch.no_grad():
        return velocity(state, t, t, rows)


def _jvp(
    velocity: Velocity, x: Tensor, r: Tensor, t: Tensor, tangent: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    def along(x: Tensor, r: Tensor, t: Tensor) -> Tensor:
        return velocity(x, r, t, rows)

    # The fused attention kernels have no forward-mode derivative.
    with sdpa_kernel(SDPBackend.MATH):
        directions = (tangent, torch.zeros_like(r), torch.ones_like(t))
        u, derivative = torch.func.jvp(along, (x, r, t), directions)[:2]
    return u, derivative


def _central_difference(
    velocity: Velocity, x: Tensor, r: Tensor, t: Tensor, tangent: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    step = 1e-3
    later = velocity(x + step * tangent, r, t + step, rows)
    earlier = velocity(x - step * tangent, r, t - step, rows)
    return (later + earlier) / 2.0, (later - earlier) / (2.0 * step)


def _alpha_target(
    velocity: Velocity, state: Tensor, direct: Tensor, times: Times, rows: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    r, t = times.r, times.t
    between = alpha * r + (1.0 - alpha) * t
    u = velocity(state, r, t, rows)
    with torch.no_grad():
        reached = state - _expand(t - between) * direct
        target = alpha * direct + (1.0 - alpha) * velocity(reached, r, between, rows)
    return u, target


def _expand(times: Tensor) -> Tensor:
    return times.view(-1, 1, 1, 1)


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt() if x.numel() else x.new_zeros(())
