"""Segmentation networks that HySeg can improve, as decoders of a backbone's pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from hyseg_models.das.pyramid import Guide


@dataclass(frozen=True)
class Decoded:
    """What a decoder gives back."""

    logits: Tensor
    """(B, N, H, W)."""
    aux: Tensor | None
    """Logits of the auxiliary head (B, N, H, W), in training only."""


class Decoder(Protocol):
    """The part of a host after its backbone."""

    def __call__(
        self, pyramid: Sequence[Tensor], guides: Mapping[int, Guide], size: tuple[int, int]
    ) -> Decoded:
        """Logits of `size` (height, width) from maps at strides 4, 8, 16 and 32.

        `guides` are for the DAS blocks a decoder holds, by stride.
        """
        ...
