"""`hyseg` with a network that costs nothing; prints the peak of its memory to the last line."""

from __future__ import annotations

import sys

import torch

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.workflows.predict import mapper
from hyseg_cli.workflows.predict.result import peak_memory


class BandsAsProbabilities(Predictor):
    """Each band is the probability of a class."""

    def __call__(
        self, image: torch.Tensor, valid: torch.Tensor, origin: torch.Tensor
    ) -> torch.Tensor:
        return image[:, [0, 1, 2, 0, 1]].float()


def main() -> None:
    torch.set_num_threads(1)
    mapper.Predictor = BandsAsProbabilities
    code = cli.main(sys.argv[1:], standalone_mode=False)
    print(f"{code or 0} {peak_memory()}")  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
