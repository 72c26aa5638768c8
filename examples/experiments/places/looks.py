"""What varying the looks of images is worth in places that no training has seen.

    python looks.py DATA --weights vit_small.safetensors --out runs/looks.json

A linear head on the tokens of a frozen transformer learns from chips of three data sets, varied in
one way or another, and is measured on chips of the fourth, and on unseen parts of the three. All
ways of varying see the same windows. The score is the share of cells that are right, as far as the
labels can tell, averaged over the kinds of label.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from leave_place_out import LEGEND, PLACES, SOURCES
from torch import Tensor
from torchvision.transforms import v2

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chips import Augmentation, TrainingChips
from hyseg_cli.learn.data.labelled_scene import LabelledScene, open_pair
from hyseg_cli.learn.few.backbone import IMAGENET_MEAN, IMAGENET_STD
from hyseg_cli.learn.model.backbone import load_backbone
from hyseg_cli.legend import read_legend
from hyseg_cli.settings.source import read_sources
from hyseg_cli.workflows.evaluate.source import MappedSource
from hyseg_cli.workflows.sources import bands_of
from hyseg_models import IGNORE_ID, HySeg, build, preset

CHIP, CELL = 256, 16
CHIPS = 160
"""Of each data set, in each seed."""
PURE = 0.75
"""Share of a cell's pixels that its commonest label must have."""
CELLS = 48
"""Cells of a chip that are learned from."""
DECAY = 1e-3
RGBN = ("red", "green", "blue", "nir")

Change = Callable[[Tensor], Tensor]
"""From an image of bytes (3, H, W) to another."""


HAZE = (205.0, 212.0, 222.0)
"""Red, green and blue of what lies between a camera and the ground."""


def season(image: Tensor) -> Tensor:
    """Each band made brighter or darker along a curve of its own."""
    gain = torch.exp(0.5 * (torch.rand(3, 1, 1) - 0.5))
    curve = torch.exp(0.8 * (torch.rand(3, 1, 1) - 0.5) + 0.6 * (torch.rand(()) - 0.5))
    return (255.0 * (gain * (image / 255.0) ** curve).clamp(0.0, 1.0)).round().to(torch.uint8)


def haze(image: Tensor) -> Tensor:
    """The image mixed with a light, slightly blue grey."""
    veil = torch.tensor(HAZE)[:, None, None]
    share = 0.45 * torch.rand(())
    return ((1.0 - share) * image + share * veil).round().to(torch.uint8)


COLOUR = v2.Compose(
    [
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03),
        v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.5))], p=0.2),
        v2.RandomApply([v2.JPEG((40, 95))], p=0.2),
    ]
)
WIDE = v2.Compose(
    [
        v2.RandomApply([v2.Lambda(season)], p=0.5),
        COLOUR,
        v2.RandomApply([v2.Lambda(haze)], p=0.3),
        v2.RandomGrayscale(p=0.1),
    ]
)


@dataclass(frozen=True)
class Look:
    """How chips are varied."""

    scale: tuple[float, float] = (1.0, 1.0)
    change: Change = torch.clone
    false_colours: float = 0.0
    """Share of the chips with a near infrared band that show it as red, red as green, and green as
    blue."""


SCALES = (0.5, 2.0)
LOOKS = {
    "turned and mirrored alone": Look(),
    "and scaled": Look(SCALES),
    "and colours, blur, JPEG (as in `hyseg train`)": Look(SCALES, COLOUR),
    "and seasons, haze, grey": Look(SCALES, WIDE),
    "and false colours": Look(SCALES, COLOUR, false_colours=0.25),
}


@dataclass(frozen=True)
class Source:
    """A data set whose scenes are open."""

    known: list[LabelledScene]
    unseen: list[LabelledScene]
    """Parts that are measured and nowhere learned from."""
    allowed: Tensor
    """bool (256, N): the classes that each of its labels allows; all where it says nothing."""


def open_source(data: Path, name: str) -> Source:
    """A source, its scenes with four bands if it has them."""
    settings = read_sources([SOURCES / f"{name}.toml"], data)[0]
    mapped = MappedSource.of(settings, read_legend(LEGEND), {})
    bands, _ = bands_of(settings, RGBN)
    known: list[LabelledScene] = []
    unseen: list[LabelledScene] = []
    for placed in mapped.source.pairs:
        scene = open_pair(placed.pair, mapped.legend, bands, settings.class_field)
        is_measured = placed.is_called("", f"/{PLACES[name]}")
        (unseen if is_measured else known).append(scene)
    allowed = torch.ones(IGNORE_ID + 1, len(read_legend(LEGEND)), dtype=torch.bool)
    for channel, classes in enumerate(mapped.source.classes.sets):
        allowed[channel] = False
        allowed[channel, list(classes)] = True
    return Source(known or unseen, unseen, allowed)


@dataclass(frozen=True)
class Cells:
    """Tokens of cells with what their labels allow."""

    tokens: Tensor
    """float16 (n, C)."""
    kind: Tensor
    """int64 (n,): the label, as the source numbers it."""
    allowed: Tensor
    """bool (n, N)."""


@torch.inference_mode()
def cells_of(
    network: HySeg, source: Source, scenes: list[LabelledScene], look: Look, *, seed: int
) -> Cells:
    """Cells of random chips that are pure in a label that says something."""
    chips = TrainingChips(
        scenes, size=CHIP, count=CHIPS, seed=seed,
        augmentation=Augmentation(scale=look.scale, color=False, collar=0.0),
    )  # fmt: skip
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    tokens, kinds = [], []
    rng = np.random.default_rng(seed)
    for number in range(CHIPS):
        sample = chips[number]
        image = sample["image"]
        is_false = rng.random() < look.false_colours and len(image) > 3
        torch.manual_seed(seed * CHIPS + number)
        image = look.change(image[[3, 0, 1]] if is_false else image[:3])
        seen = network.backbone(((image / 255.0 - mean) / std)[None])
        deep = [x for x in seen if x.shape[-1] == CHIP // CELL]
        kind, share = commonest(sample["labels"])
        useful = (share >= PURE) & ~source.allowed[kind].all(dim=-1)
        chosen = torch.nonzero(useful)
        chosen = chosen[torch.randperm(len(chosen))[:CELLS]]
        rows, cols = chosen.T
        tokens.append(torch.cat(deep, dim=1)[0, :, rows, cols].T.half())
        kinds.append(kind[rows, cols])
    kind = torch.cat(kinds)
    return Cells(torch.cat(tokens), kind, source.allowed[kind])


def commonest(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The commonest label of each cell (h, w), and its share of the pixels."""
    parts = labels.unfold(0, CELL, CELL).unfold(1, CELL, CELL).flatten(2)
    found = parts.mode(dim=-1).values
    return found, (parts == found[..., None]).float().mean(dim=-1)


def fit(parts: list[Cells]) -> Callable[[Tensor], Tensor]:
    """A linear head: minus the logarithm of what the label allows, each data set weighing alike."""
    tokens = torch.cat([part.tokens for part in parts]).float()
    allowed = torch.cat([part.allowed for part in parts])
    weight = torch.cat([torch.full((len(p.kind),), 1.0 / len(p.kind)) for p in parts]) / len(parts)
    mean, std = tokens.mean(dim=0), tokens.std(dim=0).clamp_min(1e-3)
    tokens = (tokens - mean) / std
    head = torch.nn.Linear(tokens.shape[1], allowed.shape[1])
    torch.nn.init.zeros_(head.weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=80, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logs = head(tokens).log_softmax(dim=1).masked_fill(~allowed, -torch.inf)
        value = -(weight * logs.logsumexp(dim=1)).sum() + DECAY * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)

    @torch.inference_mode()
    def classify(seen: Tensor) -> Tensor:
        return head((seen.float() - mean) / std).argmax(dim=1)

    return classify


def score(classify: Callable[[Tensor], Tensor], cells: Cells) -> float:
    """Share of right cells in points, averaged over the kinds of label."""
    right = cells.allowed[torch.arange(len(cells.kind)), classify(cells.tokens)].float()
    return 100.0 * statistics.fmean(
        float(right[cells.kind == kind].mean()) for kind in cells.kind.unique()
    )


Tests = Mapping[str, Mapping[str, Cells]]
"""What heads are measured on, by place, as it is and in false colours."""


def tests_of(network: HySeg, sources: Mapping[str, Source]) -> Tests:
    """Chips of the unseen parts, which no look changes."""
    looks = {"as it is": Look(), "false colours": Look(false_colours=1.0)}
    return {
        name: {
            kind: cells_of(network, source, source.unseen, look, seed=90)
            for kind, look in looks.items()
            if kind == "as it is" or len(source.unseen[0].read(Window(0, 0, 1, 1)).image) > 3
        }
        for name, source in sources.items()
    }


def measure(
    network: HySeg, sources: Mapping[str, Source], tests: Tests, look: Look, seed: int
) -> dict[str, dict[str, float]]:
    """Scores by place: by heads that know it, and by one that does not, also in false colours."""
    learned = {n: cells_of(network, s, s.known, look, seed=seed) for n, s in sources.items()}
    home = fit(list(learned.values()))
    found: dict[str, dict[str, float]] = {}
    for name, cells in tests.items():
        away = fit([seen for other, seen in learned.items() if other != name])
        found[name] = {"known": score(home, cells["as it is"])}
        found[name] |= {kind: score(away, seen) for kind, seen in cells.items()}
    return found


def table(runs: list[dict[str, dict[str, dict[str, float]]]]) -> Iterator[str]:
    """Lines of Markdown: means over seeds."""
    names = list(PLACES)
    yield f"| chips are | {' | '.join(names)} | elsewhere | at home | false colours |"
    yield "|---" * (len(names) + 4) + "|"
    for look in LOOKS:
        mean = {
            (name, kind): statistics.fmean(run[look][name][kind] for run in runs)
            for name in names
            for kind in runs[0][look][name]
        }
        # what is measured of West Virginia is what is learned from, so it is no home
        groups = [
            statistics.fmean(value for (name, kind), value in mean.items() if kind == wanted
                             and (kind != "known" or name != "west_virginia"))
            for wanted in ("as it is", "known", "false colours")
        ]  # fmt: skip
        cells = [f"{mean[name, 'as it is']:.1f}" for name in names]
        yield f"| {look} | {' | '.join([*cells, *(f'{value:.1f}' for value in groups)])} |"


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--weights", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File of results.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2))
def main(data: Path, weights: Path, out: Path, seeds: tuple[int, ...]) -> None:
    """Measure every way of varying chips and print the table; what was done is not done again."""
    runs = json.loads(out.read_text()) if out.is_file() else []
    network = build(preset("vit")).eval()
    load_backbone(network, weights, RGBN[:3])
    sources = {name: open_source(data, name) for name in PLACES}
    tests = tests_of(network, sources)
    for seed in seeds[len(runs) :]:
        run = {}
        for name, look in LOOKS.items():
            run[name] = measure(network, sources, tests, look, seed)
            click.echo(f"seed {seed}: {name}", err=True)
        runs.append(run)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(runs, indent=1) + "\n")
    click.echo("\n".join(table(runs)))


if __name__ == "__main__":
    main()
