"""The whole method learns four real chips by heart."""

import pytest
import torch

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import find_pairs
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.scores.metrics import ConfusionMatrix
from hyseg_cli.learn.training.stages import as_bytes
from hyseg_cli.legend import read_legend
from hyseg_models import build, preset, segmentation_loss


@pytest.mark.slow
def test_four_real_chips_are_overfitted(shared, request):
    torch.set_num_threads(2)
    legend = read_legend(request.config.rootpath / "examples" / "dubai.legend.json")
    pairs = find_pairs(shared / "dubai", shared / "dubai")
    chosen = [pair for pair in pairs if pair.image.stem == "image_part_005"][:4]
    chips = [scene.read(Window(200, 200, 128, 128)) for scene in open_pairs(chosen, legend)]
    image = torch.stack([torch.from_numpy(chip.image.copy()) for chip in chips])
    labels = torch.stack([torch.from_numpy(chip.labels.copy()).long() for chip in chips])
    valid = torch.ones(4, 1, 128, 128, dtype=torch.bool)
    image = Standardise(Radiometry((110.0,) * 3, (60.0,) * 3))(image, valid)
    config = preset("cpu_smoke").override({"classes": len(legend), "head.drop_path": 0.0})
    network = build(config)

    network.prior.requires_grad_(True)
    network.prior.train()
    optimizer = torch.optim.AdamW(network.prior.parameters(), lr=2e-3)
    for step in range(200):
        optimizer.zero_grad()
        network.prior_objective(image, valid, labels, progress=step / 200).loss.backward()
        optimizer.step()
    network.prior.requires_grad_(False)

    network.train()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        segmentation_loss(network(image, valid), labels, smoothing=0.0).backward()
        optimizer.step()

    network.eval()
    matrix = ConfusionMatrix(len(legend))
    matrix.update(as_bytes(labels), as_bytes(network(image, valid).logits.argmax(dim=1)))
    assert matrix.scores().mean_iou > 0.9
