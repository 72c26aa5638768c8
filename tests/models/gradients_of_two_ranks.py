"""One rank of a data-parallel MeanFlow step: RANK FOLDER; rank 0 writes its gradients there."""

from __future__ import annotations

import sys
from functools import partial

import torch
from conftest import tiny_config
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hyseg_models import build
from hyseg_models.config.prior_config import ObjectiveConfig
from hyseg_models.prior.meanflow import Times, meanflow_loss

BATCH = 4


class Objective(nn.Module):
    """The objective of stage 1 with given times and noise, all of it inside `forward`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        # No BatchNorm, whose statistics would differ between a half and a whole batch.
        network = build(tiny_config().override({"prior.condition.kind": "stem"}))
        self.prior = network.prior.requires_grad_(True)
        with torch.no_grad():
            for parameter in self.prior.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))

    def forward(self, image: Tensor, labels: Tensor, noise: Tensor, times: Times) -> Tensor:
        valid = torch.ones_like(image[:, :1], dtype=torch.bool)
        velocity = partial(self.prior.velocity, self.prior.condition(image, valid))
        data, weight = self.prior.labels.encode(labels)
        return meanflow_loss(velocity, data, weight, noise, times, ObjectiveConfig()).loss


def batch() -> tuple[Tensor, Tensor, Tensor, Times]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(BATCH, 3, 64, 64, generator=generator)
    labels = torch.randint(0, 5, (BATCH, 64, 64), generator=generator)
    noise = torch.randn(BATCH, 5, 16, 16, generator=generator)
    t = torch.rand(BATCH, generator=generator)
    return image, labels, noise, Times(t * torch.tensor([0.2, 1.0, 0.5, 0.0]), t)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): parameter.grad
        for name, parameter in module.named_parameters()
    }


def main() -> None:
    rank, folder = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    image, labels, noise, times = batch()
    half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    module = DistributedDataParallel(Objective())
    part = Times(times.r[half], times.t[half])
    module(image[half], labels[half], noise[half], part).backward()
    if rank == 0:
        save_file(gradients(module), f"{folder}/gradients.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
