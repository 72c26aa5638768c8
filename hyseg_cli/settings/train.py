"""Settings of `hyseg train`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.settings.checks import check
from hyseg_cli.settings.choices import (
    Benchmark,
    ClassWeights,
    Frozen,
    LoggerName,
    Precision,
    Sampling,
    Stage,
    Unfrozen,
)
from hyseg_cli.settings.source import SourceSettings


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """`hyseg train`."""

    out: Path
    images: Path | None = None
    labels: Path | None = None
    """Label rasters, or one vector file."""
    benchmark: Benchmark | None = None
    """A published data set to train on instead of images and labels."""
    sources: tuple[SourceSettings, ...] = ()
    """Data sets to train on together instead, each with a legend of its own."""
    root: Path | None = None
    """Folder below which the benchmark or the sources were unpacked."""
    legend: Path | None = None
    """The classes; None for those that the labels have."""
    class_field: str = "class"
    """Column of a vector file that holds the class."""
    preset: str = "plain"
    start: str | None = None
    """Model to start from, a path or a name; it decides the network."""
    thorough: bool = False
    """Train the whole network although few labels would do for a probe."""
    freeze: Frozen = "none"
    """Part of the network that keeps its weights in stage 2."""
    unfreeze: Unfrozen = "none"
    """Part of the backbone to train, too, which the network keeps as it is; at a tenth of the rate.
    `last` is what follows the blocks of a transformer that a few polygons are learned from."""
    blend: float | None = None
    """Mix of the weights of `start` (0) and the new ones (1); None for the better of 0.5 and 1 on
    held-out images, and for 0.5 without any."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty for all bands but alpha."""
    band_names: tuple[str, ...] = ()
    """Names for the card; empty for red, green, blue, or band1, band2, ..."""
    optional_bands: tuple[str, ...] = ()
    """Names of the last bands, if scenes may lack them: they are left out of half of the chips."""
    val_scenes: tuple[str, ...] = ()
    """Scenes held out for validation."""
    val_split: float = 0.0
    """Share of the pixels to hold out: whole scenes if there are several, else a slice."""
    val_images: Path | None = None
    """Other images for validation."""
    val_labels: Path | None = None
    """Their labels."""
    stage: Stage = "all"
    """What is trained: both stages, or one; the second needs a prior from `prior` or `start`."""
    prior: Path | None = None
    """Model whose prior is used; stage 1 is then skipped."""
    prior_steps: int | None = None
    """Steps of stage 1; None for 20,000, or 500 when starting from a model."""
    steps: int | None = None
    """Steps of stage 2; None for 20,000, or 1,500 when starting from a model."""
    batch_size: int = 8
    chip_size: int = 256
    prior_rate: float = 5e-4
    rate: float = 6e-4
    min_scale: float = 0.5
    max_scale: float = 2.0
    class_weights: ClassWeights = "none"
    """Weight of rare classes in the loss of stage 2, from the pixels of the training labels."""
    sampling: Sampling = "area"
    """Where chips are cut: anywhere, or half of them around a class that is drawn first."""
    vary_features: float = 0.0
    """Share of the chips whose features stage 2 is shown as another place might have them, from 0
    to 1."""
    pretrained: bool = False
    """Fetch pretrained weights of the backbones."""
    backbone_weights: Path | None = None
    """File with pretrained weights of the backbone."""
    feature_space: float = 4.0
    """Gigabytes that features of a frozen backbone may take on the disk; 0 computes them at each
    step."""
    feature_folder: Path | None = None
    """Where they are kept; None for the run folder."""
    val_every: int = 500
    """Steps between validations."""
    patience: int | None = None
    """Validations without improvement after which a stage ends; None for never."""
    workers: int = 0
    """Processes that prepare chips; 0 prepares them in the main one."""
    device: str = "auto"
    precision: Precision = "auto"
    """Floating-point format of the network; `auto` is the faster one on this machine."""
    devices: int = 1
    """Processes on this machine that share each batch."""
    seed: int = 0
    resolution: tuple[float, ...] = ()
    """Ground size of the pixels in metres, or the smallest and the largest, for images that do not
    state it themselves."""
    map_resolution: float | None = None
    """Ground size in metres of the pixels that coarser scenes are enlarged to when they are mapped;
    None for that of the training images, the median of all pixels."""
    data_name: str = ""
    licence: str = ""
    attribution: str = ""
    save_every: int | None = None
    """Steps between checkpoints; None for `val_every`."""
    resume: bool = False
    """Continue a stopped run with the same settings."""
    tensorboard: bool = False
    """Log for TensorBoard too."""
    loggers: tuple[LoggerName, ...] = ()
    """Where else to log; each needs a package that hyseg does not bring along."""
    dry_run: bool = False
    """Print what would be trained, and stop."""
    overwrite: bool = False

    @property
    def has_start(self) -> bool:
        """Whether the backbone starts from pretrained weights."""
        return self.pretrained or self.backbone_weights is not None or self.start is not None

    @property
    def stage_steps(self) -> tuple[int, int]:
        """Steps of both stages."""
        usual = (20_000, 20_000) if self.start is None else (500, 1_500)
        first = usual[0] if self.prior_steps is None else self.prior_steps
        if self.stage == "segmentation":
            first = 0
        return first, usual[1] if self.steps is None else self.steps

    @property
    def chosen_loggers(self) -> tuple[LoggerName, ...]:
        """Where a training logs beside its table, each place once."""
        first: tuple[LoggerName, ...] = ("tensorboard",) if self.tensorboard else ()
        return tuple(dict.fromkeys((*first, *self.loggers)))

    @property
    def asked_of_whole_training(self) -> str | None:
        """The flag of a setting that only the training of a whole network has, if one was given."""
        asked = (
            ("`thorough`", self.thorough),
            ("`preset`", self.preset != type(self).preset),
            ("`benchmark`", self.benchmark is not None),
            ("`sources`", bool(self.sources)),
            ("`stage`", self.stage != "all"),
            ("`prior`", self.prior is not None),
            ("`prior_steps`", self.prior_steps is not None),
            ("`steps`", self.steps is not None),
            ("`freeze`", self.freeze != "none"),
            ("`unfreeze`", self.unfreeze != "none"),
            ("`blend`", self.blend is not None),
            ("`pretrained`", self.pretrained),
            ("`val_scenes`", bool(self.val_scenes)),
            ("`val_split`", self.val_split > 0),
            ("`val_images`", self.val_images is not None),
            ("`resume`", self.resume),
            ("`devices`", self.devices > 1),
            ("`vary_features`", self.vary_features > 0),
            ("`logger`", bool(self.chosen_loggers)),
        )
        return next((flag for flag, is_given in asked if is_given), None)

    def __post_init__(self) -> None:
        self._check_amounts()
        self._check_data()
        self._check_stages()

    def _check_amounts(self) -> None:
        size = self.chip_size
        check(
            size >= 64 and size % 32 == 0,
            f"`chip_size` {size} is not a multiple of 32 of at least 64",
            f"Use `chip_size` {max(2, round(size / 32)) * 32}.",
        )
        for flag, value in (
            ("`steps`", self.stage_steps[1]),
            ("`batch_size`", self.batch_size),
            ("`val_every`", self.val_every),
            ("`devices`", self.devices),
            ("`patience`", 1 if self.patience is None else self.patience),
            ("`save_every`", self.val_every if self.save_every is None else self.save_every),
        ):
            check(value >= 1, f"{flag} {value} is less than 1", f"Use {flag} 1 or more.")
        check(self.feature_space >= 0, "`feature_space` is negative", "Use 0 to keep none.")
        check(self.stage_steps[0] >= 0, "`prior_steps` is negative", "Use 0 or more.")
        check(
            0 <= self.vary_features <= 1,
            f"`vary_features` {self.vary_features} is not a share from 0 to 1",
            "Use 0.5 for half of the chips.",
        )
        check(
            len(self.resolution) <= 2 and all(size > 0 for size in self.resolution),
            f"`resolution` {','.join(map(str, self.resolution))} is not a size or range of sizes",
            "Give metres, such as `resolution` 0.5 or `resolution` 0.3,1.",
        )
        check(
            self.map_resolution is None or 0 < self.map_resolution < math.inf,
            f"`map_resolution` {self.map_resolution} is not a size",
            "Give metres, such as `map_resolution` 0.5.",
        )
        check(
            0 < self.min_scale <= 1 <= self.max_scale,
            f"`min_scale` {self.min_scale} and `max_scale` {self.max_scale} do not enclose 1",
            "Use a smallest magnification of at most 1 and a largest of at least 1.",
        )
        check(
            self.out.suffix == ".safetensors",
            f"`out` {self.out} does not end in .safetensors",
            "Models are safetensors files: give `out` a name such as my-model.safetensors.",
        )

    def _check_data(self) -> None:
        check(
            0 <= self.val_split <= 0.5,
            f"`val_split` {self.val_split} is not between 0 and 0.5",
            "Give the share to hold out, such as 0.2.",
        )
        held_out = (bool(self.val_scenes), self.val_split > 0, self.val_images is not None)
        check(
            sum(held_out) <= 1,
            "`val_scenes`, `val_split` and `val_images` exclude each other",
            "Use one of them.",
        )
        own = self.images is not None and self.labels is not None
        ways = (own, self.benchmark is not None and self.root is not None, bool(self.sources))
        check(
            sum(ways) == 1,
            "training needs either `images` and `labels`, or `benchmark` and `root`, or `sources`",
            "Give one of these.",
        )
        self._check_sources()
        optional, names = self.optional_bands, self.band_names
        check(
            not optional or (len(optional) < len(names) and names[-len(optional) :] == optional),
            f"`optional_bands` {', '.join(optional)}: these are not the last of the bands",
            "Name all bands with `band_names`, the optional ones last, such as nir.",
        )
        check(
            self.benchmark is None or not any((*held_out, self.legend)),
            f"the benchmark {self.benchmark} has a split and a legend of its own",
            "Leave out `legend` and the options that hold scenes out.",
        )
        check(
            (self.val_images is None) == (self.val_labels is None),
            "`val_images` and `val_labels` belong together",
            "Give both or neither.",
        )

    def _check_sources(self) -> None:
        if not self.sources:
            return
        check(
            self.legend is not None,
            "`sources` needs the classes that all sources are mapped to",
            "Give them with `legend`, such as examples/land_cover.legend.json.",
        )
        check(
            not self.bands and self.val_split == 0 and self.val_images is None,
            "`bands`, `val_split` and `val_images` do not go with `sources`",
            "Name the bands with `band_names`, and what to hold out with `val_scenes` NAME/PLACE.",
        )
        shares = [source.share for source in self.sources if source.share is not None]
        is_whole = len(shares) < len(self.sources)
        check(
            sum(shares) <= (1.0 - 1e-6 if is_whole else 1.0 + 1e-6),
            f"the shares of the sources add up to {sum(shares):g}",
            "Let them add up to at most 1, and to less where a source has none.",
        )

    def _check_stages(self) -> None:
        if self.blend is not None:
            check(
                0 < self.blend <= 1,
                f"`blend` {self.blend} is not above 0 and at most 1",
                "Use 1 for the new weights, 0.5 to stop half way to them.",
            )
            check(
                self.start is not None and self.stage != "prior",
                "`blend` is for a segmentation that starts from a model",
                "Give that model with `start`, or leave out `blend`.",
            )
        check(
            self.unfreeze == "none" or self.freeze != "backbone",
            "`freeze` backbone and `unfreeze` exclude each other",
            "Use one of them: the backbone is trained or not.",
        )
        check(
            self.backbone_weights is None or not (self.pretrained or self.start is not None),
            "`backbone_weights`, `pretrained` and `start` exclude each other",
            "Use one of them: each says where the backbone's weights come from.",
        )
        check(
            self.stage != "prior" or (self.prior is None and self.stage_steps[0] > 0),
            "`stage` prior trains a prior, so it needs steps for one and takes no `prior`",
            "Leave out `prior`, and give `prior_steps` 1 or more.",
        )
        check(
            self.stage != "segmentation" or not (self.prior is None and self.start is None),
            "`stage` segmentation needs a prior that was trained before",
            "Give `prior` MODEL, such as the file that `stage` prior wrote, or `start` MODEL.",
        )
        check(
            self.start is None or self.prior is None,
            "`start` uses a whole model, including its prior",
            "Leave out `prior`.",
        )
