"""`hyseg train` on the command line."""

from __future__ import annotations

from typing import Any, get_args

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    NumberList,
    bands_option,
    class_field_option,
    console,
    default_of,
    device_option,
    out_option,
    overwrite_option,
    precision_option,
    print_result,
)
from hyseg_cli.settings.choices import (
    Benchmark,
    ClassWeights,
    Frozen,
    LoggerName,
    Sampling,
    Stage,
    Unfrozen,
)
from hyseg_cli.settings.source import read_sources
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.startup import loading


@click.command(cls=HysegCommand)
@click.option("--images", type=FILE, help="Folder or file of images.")
@click.option(
    "--labels",
    type=FILE,
    help="Label rasters (ids or colours), matched by name or location, or one vector file.",
)
@click.option(
    "--benchmark",
    type=click.Choice(get_args(Benchmark)),
    help="Train on a published data set instead, with its classes and its split.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=click.UNPROCESSED,
    metavar="[NAME=]TOML",
    help="Train on several data sets, each with a legend of its own; repeat.",
)
@click.option(
    "--root", type=FILE, help="Folder below which the benchmark or the sources were unpacked."
)
@click.option(
    "--legend",
    type=FILE,
    help="The classes: .json, .csv, .qml or .clr.  [default: those of the labels]",
)
@class_field_option(TrainSettings)
@out_option("The model file (.safetensors); logs go to a folder beside it.")
@click.option(
    "--preset",
    default=default_of(TrainSettings, "preset"),
    show_default=True,
    help="Network: plain, default (with a structure prior), vit (frozen DINOv2), fast, light or "
    "cpu_smoke; fast+plain is the fast one without a prior; probe is the head for a few polygons.",
)
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    help="Start from a model, a file or a name such as `default`; classes may differ.",
)
@click.option(
    "--blend",
    type=float,
    help="Mix of old and new weights with --from: 0.5 is half way, 1 new.  [default: the better "
    "of 0.5 and 1 on held-out images; without any 0.5, or 1 if a class is new]",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Train the whole network, which takes long, although the polygons are few.",
)
@click.option(
    "--freeze",
    type=click.Choice(get_args(Frozen)),
    default=default_of(TrainSettings, "freeze"),
    show_default=True,
    help="Part of the network that keeps its weights in stage 2.",
)
@click.option(
    "--unfreeze",
    type=click.Choice(get_args(Unfrozen)),
    is_flag=False,
    flag_value="all",
    default=default_of(TrainSettings, "unfreeze"),
    help="Train the backbone, too, where the network keeps it as it is, at a tenth of the rate; "
    "last is what follows the blocks of a transformer that a few polygons are learned from.",
)
@bands_option
@click.option(
    "--band-name",
    "band_names",
    multiple=True,
    help="Name of a band for the model card; repeat in order.  [default: red, green, blue]",
)
@click.option(
    "--optional-band",
    "optional_bands",
    multiple=True,
    help="Band that scenes may lack, such as nir; repeat. One of the last --band-name.",
)
@click.option(
    "--val-scenes",
    multiple=True,
    metavar="NAME",
    help="Scene to hold out for validation; repeat for more.",
)
@click.option(
    "--val-split",
    default=default_of(TrainSettings, "val_split"),
    show_default=True,
    help="Share to hold out for validation: whole scenes if there are several, else a slice.",
)
@click.option("--val-images", type=FILE, help="Other images for validation.")
@click.option("--val-labels", type=FILE, help="Their labels.")
@click.option(
    "--stage",
    type=click.Choice(get_args(Stage)),
    default=default_of(TrainSettings, "stage"),
    show_default=True,
    help="Train both stages, or one of them; a model of the first serves as --prior.",
)
@click.option(
    "--prior",
    type=FILE,
    metavar="MODEL",
    help="Use the prior of this model instead of training one.",
)
@click.option(
    "--prior-steps",
    type=int,
    help="Steps of stage 1, the structure prior.  [default: 20000; with --from 500]",
)
@click.option(
    "--steps",
    type=int,
    help="Steps of stage 2, the segmentation.  [default: 20000; with --from 1500]",
)
@click.option(
    "--batch-size",
    default=default_of(TrainSettings, "batch_size"),
    show_default=True,
    help="Chips in a step of the training, over all devices.",
)
@click.option(
    "--chip-size",
    default=default_of(TrainSettings, "chip_size"),
    show_default=True,
    help="Side of the training chips in pixels.",
)
@click.option(
    "--prior-rate",
    default=default_of(TrainSettings, "prior_rate"),
    show_default=True,
    help="Learning rate of stage 1.",
)
@click.option(
    "--rate",
    default=default_of(TrainSettings, "rate"),
    show_default=True,
    help="Learning rate of stage 2.",
)
@click.option(
    "--min-scale",
    default=default_of(TrainSettings, "min_scale"),
    show_default=True,
    help="Smallest magnification of a training chip.",
)
@click.option(
    "--max-scale",
    default=default_of(TrainSettings, "max_scale"),
    show_default=True,
    help="Largest magnification of a training chip.",
)
@click.option(
    "--class-weights",
    type=click.Choice(get_args(ClassWeights)),
    default=default_of(TrainSettings, "class_weights"),
    show_default=True,
    help="Weigh rare classes more in stage 2: by the inverse of their pixels, or its square root.",
)
@click.option(
    "--sampling",
    type=click.Choice(get_args(Sampling)),
    default=default_of(TrainSettings, "sampling"),
    show_default=True,
    help="Cut chips anywhere, or half of them around a class, all classes equally often.",
)
@click.option(
    "--vary-features",
    metavar="SHARE",
    default=default_of(TrainSettings, "vary_features"),
    show_default=True,
    help="Share of chips that are shown as another place might look, for a model that will map "
    "places it has not seen; 0.5 is usual.",
)
@click.option("--pretrained", is_flag=True, help="Fetch pretrained weights of the backbones.")
@click.option(
    "--backbone-weights",
    type=FILE,
    help="Pretrained weights of the backbone from a safetensors file instead.",
)
@click.option(
    "--feature-space",
    metavar="GB",
    default=default_of(TrainSettings, "feature_space"),
    show_default=True,
    help="Disk space for features of a frozen backbone, which are computed once; 0 for none.",
)
@click.option(
    "--feature-folder",
    type=FILE,
    help="Folder where they are kept, for other trainings too.  [default: in the run folder]",
)
@click.option(
    "--val-every",
    default=default_of(TrainSettings, "val_every"),
    show_default=True,
    help="Steps between validations; each leaves a picture in the run folder.",
)
@click.option(
    "--patience",
    type=int,
    help="End a stage after this many validations without improvement.  [default: never]",
)
@click.option(
    "--workers",
    default=default_of(TrainSettings, "workers"),
    show_default=True,
    help="Processes that prepare chips.",
)
@device_option(TrainSettings)
@precision_option(TrainSettings)
@click.option(
    "--devices",
    default=default_of(TrainSettings, "devices"),
    show_default=True,
    help="GPUs (or, on the CPU, processes) that share each batch; torchrun and SLURM set it.",
)
@click.option(
    "--seed",
    default=default_of(TrainSettings, "seed"),
    show_default=True,
    help="Seed of weights, chips, noise and what is held out.",
)
@click.option(
    "--resolution",
    type=NumberList(),
    default=(),
    metavar="M[,M]",
    help="Size of the pixels in metres, or smallest and largest, of images that do not state it.",
)
@click.option(
    "--map-resolution",
    type=float,
    metavar="M",
    help="Size of the pixels in metres that coarser scenes are enlarged to when they are mapped.  "
    "[default: that of the images, the median]",
)
@click.option("--data-name", default="", help="Name of the data set, for the model card.")
@click.option("--licence", default="", help="Licence of the data, for the model card.")
@click.option("--attribution", default="", help="Whom to credit, for the model card.")
@click.option("--save-every", type=int, help="Steps between checkpoints.  [default: --val-every]")
@click.option(
    "--resume/--no-resume",
    default=default_of(TrainSettings, "resume"),
    show_default=True,
    help="Continue a stopped run with the same settings, or start over.",
)
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    type=click.Choice(get_args(LoggerName)),
    help="Log there too, beside metrics.csv and training.html in the run folder; repeat for more.",
)
@click.option("--tensorboard", is_flag=True, help="The same as --logger tensorboard.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be trained, and stop.")
@overwrite_option
def train(**options: Any) -> None:
    """Train a model on images with label rasters or polygons."""
    options["sources"] = read_sources(options["sources"], options["root"])
    settings = TrainSettings(**options)
    with loading():
        from hyseg_cli.workflows.few.rule import decide

    decision = decide(settings)
    if decision.is_quick:
        _train_probe(settings, decision.reason)
    else:
        _train_network(settings, decision.reason)


def _train_probe(settings: TrainSettings, reason: str) -> None:
    with loading():
        from hyseg_cli.workflows.few import run as few

    with console() as messages:
        if settings.dry_run:
            print_result(few.plan(settings, reason, messages).to_text())
            return
        result = few.run(settings, reason, messages)
    print_result(result.expected.to_text())
    print_result(str(result.out))


def _train_network(settings: TrainSettings, reason: str) -> None:
    with loading():
        from hyseg_cli.report.training import Page
        from hyseg_cli.workflows.train import run as workflow
        from hyseg_cli.workflows.train.dry_run import plan

    with console() as messages:
        if settings.dry_run:
            print_result(f"{'training':<18} the whole network: {reason}")
            print_result(plan(settings, messages).to_text())
            return
        result = workflow.run(settings, messages, Page(messages))
    if result is None:
        return
    if result.scores is not None:
        print_result(f"validation mIoU {result.scores.mean_iou:.3f}")
        print_result(f"validation accuracy {result.scores.overall_accuracy:.3f}")
    print_result(str(result.out))
