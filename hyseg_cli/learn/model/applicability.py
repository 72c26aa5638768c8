"""Whether a scene looks like what a model was trained on, by what its backbone sees.

Values of pixels say when an image is darker or bluer than others; what a frozen transformer sees
also says when its content is unlike. Source: the dissimilarity index of Meyer and Pebesma 2021,
Predicting into unknown space? (Methods in Ecology and Evolution 12), on features instead of
predictors, and with a quantile in place of their outlier rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from hyseg_models import HySeg
from hyseg_models.blocks.backbones import is_plain_vit

PREFIX = "applicability."
"""Of the names of its tensors in a model file."""
MOST_LOOKS = 2048
"""Windows that are remembered."""
NEAREST = 3
"""Windows of the training that another is compared with: those that it is most like."""
USUAL = 0.8
"""Quantile of the distances of windows of held-out places that a scene may have."""


@dataclass(frozen=True, eq=False)
class Applicability:
    """A summary of the scenes that a model was trained on, as its backbone sees them.

    A *look* is the mean of the features of a window at the first of the depths that are taken.
    """

    looks: Tensor
    """Standardised looks of windows of the training, float32 (M, C)."""
    mean: Tensor
    """Of the looks, (C,)."""
    std: Tensor
    """Of the looks, (C,), above 0."""
    usual: Tensor
    """Distance that windows of held-out places may have, a scalar above 0."""

    @classmethod
    def learned(cls, training: Tensor, held_out: Tensor) -> Self | None:
        """From looks of windows of the training (M, C) and of other places (m, C).

        None with fewer than `NEAREST` of either: nothing could be said of a scene.
        """
        if min(len(training), len(held_out)) < NEAREST:
            return None
        mean, std = training.mean(dim=0), training.std(dim=0).clamp_min(1e-6)
        looks = ((training - mean) / std).half().float()  # as they are stored
        known = cls(looks, mean, std, torch.ones(()))
        usual = torch.quantile(known.dissimilarity(held_out), USUAL).clamp_min(1e-6)
        return cls(looks, mean, std, usual)

    def with_more(self, looks: Tensor) -> Self:
        """The same with looks (M, C) of windows of more places, half of all at most."""
        more = ((looks - self.mean) / self.std).half().float()[: MOST_LOOKS // 2]
        kept = self.looks[: MOST_LOOKS - len(more)]
        return replace(self, looks=torch.cat([kept, more]))

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Self | None:
        """From the tensors of a model file; None if it has none.

        Raises:
            ValueError: If they do not belong together.
        """
        found = {
            name.removeprefix(PREFIX): tensor.float()
            for name, tensor in tensors.items()
            if name.startswith(PREFIX)
        }
        if not found:
            return None
        if set(found) != {"looks", "mean", "std", "usual"}:
            message = f"{PREFIX}* are {', '.join(sorted(found))}"
            raise ValueError(message)
        known = cls(**found)
        wide = known.looks.shape[-1] if known.looks.dim() == 2 and len(known.looks) > 0 else -1
        if not known.mean.shape == known.std.shape == (wide,) or known.usual.dim() != 0:
            message = f"the shapes of {PREFIX}* do not belong together"
            raise ValueError(message)
        is_finite = all(bool(tensor.isfinite().all()) for tensor in found.values())
        if not is_finite or not bool((known.std > 0).all()) or not bool(known.usual > 0):
            message = f"{PREFIX}* hold values that no training gives"
            raise ValueError(message)
        return known

    def to_tensors(self) -> dict[str, Tensor]:
        """What a model file stores: looks in half precision, the rest in single."""
        return {
            f"{PREFIX}looks": self.looks.half().contiguous(),
            f"{PREFIX}mean": self.mean.contiguous(),
            f"{PREFIX}std": self.std.contiguous(),
            f"{PREFIX}usual": self.usual.contiguous(),
        }

    def dissimilarity(self, looks: Tensor) -> Tensor:
        """Mean distance (B,) of looks (B, C) to the nearest of training, in usual distances."""
        distances = torch.cdist((looks.float() - self.mean) / self.std, self.looks)
        nearest = distances.topk(min(NEAREST, len(self.looks)), largest=False).values
        return nearest.mean(dim=1) / self.usual


@dataclass(frozen=True)
class Unlike:
    """How unlike a scene is to what a model was trained on."""

    dissimilarity: float
    """Median over some windows; 1 is what those of held-out places seldom exceed."""
    warning: str | None
    """For the user, if it is above 1."""

    @classmethod
    def of(cls, found: Tensor, name: str) -> Self:
        """From the dissimilarity (B,) of windows of the scene `name`, at least one."""
        median = float(found.median())
        if median <= 1:
            return cls(median, None)
        return cls(
            median,
            f"{name} looks unlike what the model was trained on (dissimilarity {median:.2f}, "
            "usual is up to 1): expect a worse map than its card says, and check it; training on "
            "a few polygons may help (`hyseg train --from`)",
        )


def can_look(network: HySeg) -> bool:
    """Whether the backbone is one whose features trainings keep as they are, as a rule."""
    host = network.config.host
    is_kept = network.shares_backbone or host.frozen
    return is_kept and host.name != "probe" and is_plain_vit(host.backbone)


def width_of(network: HySeg) -> int:
    """Number C of values of a look."""
    return int(network.backbone.channels[0]) // len(network.config.host.depths)


def looks_of(network: HySeg, features: Sequence[Tensor]) -> Tensor:
    """Looks (B, C) of images, from what the backbone made of them, on the CPU."""
    return features[0][:, : width_of(network)].float().mean(dim=(2, 3)).cpu()
