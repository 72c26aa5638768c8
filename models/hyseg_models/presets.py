"""Named configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hyseg_models.config import (
    ConditionConfig,
    ConfigError,
    HeadConfig,
    HySegConfig,
    PriorConfig,
    PriorNetConfig,
)


def _default() -> HySegConfig:
    # Without ImageNet weights the deepest ResNet stage of a second backbone costs 8 million
    # parameters and learns little; the prior's own U-Net already reaches stride 32.
    return HySegConfig(prior=PriorConfig(condition=ConditionConfig(strides=(4, 8, 16))))


def _light() -> HySegConfig:
    config = _default()
    return replace(
        config,
        prior=replace(
            config.prior,
            stride=8,
            net=PriorNetConfig(mult=(1, 2, 4, 4), attn_ds=(2,)),
        ),
    )


def _cpu_smoke() -> HySegConfig:
    config = _default()
    return replace(
        config,
        prior=replace(
            config.prior,
            condition=replace(config.prior.condition, strides=(4, 8), width=32),
            net=PriorNetConfig(base=16, mult=(1, 2, 2), blocks=1),
        ),
        head=HeadConfig(dim=32, pyramid=(16, 16, 16)),
    )


_PRESETS: dict[str, Callable[[], HySegConfig]] = {
    "default": _default,
    "light": _light,
    "cpu_smoke": _cpu_smoke,
}

PRESET_NAMES = tuple(_PRESETS)


def preset(name: str) -> HySegConfig:
    """The configuration called `name`, for three bands and seven classes.

    Raises:
        ConfigError: If there is no such preset.
    """
    if name not in _PRESETS:
        message = f"no preset {name!r}; there are {', '.join(PRESET_NAMES)}"
        raise ConfigError(message)
    return _PRESETS[name]()
