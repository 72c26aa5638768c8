"""The commands as functions, and models for arrays in memory.

    import hyseg_cli as hyseg

    hyseg.predict("scene.tif", "landcover.tif")
    hyseg.vectorize("landcover.tif", "landcover.gpkg", mmu="100m2")
    model = hyseg.load_model()
    probabilities = model.predict(image)

Keyword arguments are the fields of the settings in `hyseg_cli.settings`. Every function raises the
exceptions of `hyseg_cli.errors`, which carry a message and a hint, and prints nothing unless
`progress` is set. PyTorch and GDAL are loaded by the functions that need them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from hyseg_cli.messages import Console, Messages, Silence
from hyseg_cli.startup import ignore_foreign_proj

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hyseg_cli.learn.inference.predictor import Predictor
    from hyseg_cli.learn.model.card import ModelCard
    from hyseg_cli.learn.scores.comparison import Comparison
    from hyseg_cli.learn.scores.evaluation import Evaluation
    from hyseg_cli.legend import Legend
    from hyseg_cli.workflows.evaluate.samples import SampleComparison, SampleEvaluation
    from hyseg_cli.workflows.info.map import MapInfo
    from hyseg_cli.workflows.info.run import ModelInfo
    from hyseg_cli.workflows.info.scene import SceneInfo
    from hyseg_cli.workflows.predict.result import PredictResult
    from hyseg_cli.workflows.sample import SampleResult
    from hyseg_cli.workflows.train.run import TrainResult
    from hyseg_cli.workflows.vectorize.coverage import VectorizeResult

for _text in ignore_foreign_proj():
    warnings.warn(_text, RuntimeWarning, stacklevel=2)

PathLike = str | Path
_Settings = TypeVar("_Settings")


def predict(
    scenes: PathLike | Sequence[PathLike], out: PathLike, *, progress: bool = False, **settings: Any
) -> PredictResult:
    """Map scenes, as `hyseg predict` does.

    Args:
        scenes: A scene, a folder, `@list.txt`, or several of them.
        out: A file for one scene, a folder for several.
        progress: Report progress on stderr.
        **settings: Fields of `settings.predict.PredictSettings`, such as `model="default"`,
            `tile_size=512`, `bounds=(left, bottom, right, top)`.

    Returns:
        The result of each scene.

    Raises:
        HysegError: One of its kinds; what was computed is kept, and the same call continues.
        TypeError: If there is no such setting.
    """
    from hyseg_cli.settings.predict import PredictSettings
    from hyseg_cli.workflows.predict import run as workflow

    names = [scenes] if isinstance(scenes, str | Path) else scenes
    chosen = _settings(
        PredictSettings, inputs=tuple(str(name) for name in names), out=out, **settings
    )
    documents = {}
    if chosen.report is not None or chosen.preview is not None:
        from hyseg_cli.report.prediction import write_documents

        documents["publish"] = write_documents
    with _messages(progress=progress) as messages:
        return workflow.run(chosen, messages, **documents)


def vectorize(
    map: PathLike,  # noqa: A002 - the word of the command line
    out: PathLike,
    *,
    progress: bool = False,
    **settings: Any,
) -> VectorizeResult:
    """Turn a class raster into polygons that share their edges, as `hyseg vectorize` does.

    Args:
        map: The class raster.
        out: The layer; its suffix decides the format.
        progress: Report progress on stderr.
        **settings: Fields of `settings.vectorize.VectorizeSettings`, such as `mmu="100m2"`,
            `smooth=True`.

    Raises:
        HysegError: One of its kinds; nothing is then left behind.
        TypeError: If there is no such setting.
    """
    from hyseg_cli.settings.vectorize import VectorizeSettings
    from hyseg_cli.workflows.vectorize import run as workflow

    chosen = _settings(VectorizeSettings, map=map, out=out, **settings)
    with _messages(progress=progress) as messages:
        return workflow.run(chosen, messages)


def evaluate(
    *maps: PathLike, progress: bool = False, **settings: Any
) -> Evaluation | Comparison | SampleEvaluation | SampleComparison:
    """Measure maps or a model, as `hyseg evaluate` does.

    Args:
        *maps: One map, or two to compare; none for a model (`images`, `labels`).
        progress: Report progress on stderr.
        **settings: Fields of `settings.evaluate.EvaluateSettings`, such as
            `reference="truth.tif"`; with `samples="points.gpkg"` those of
            `settings.sample.SampleEvaluationSettings`.

    Returns:
        Scores of a map or model, a comparison of two maps, or estimates from sample points.

    Raises:
        HysegError: If a file is damaged, or map and reference have no location or class in common.
        TypeError: If there is no such setting.
    """
    with _messages(progress=progress) as messages:
        if "samples" in settings:
            return _evaluate_samples(maps, settings, messages)
        return _evaluate_pixels(maps, settings, messages)


def sample(
    map: PathLike,  # noqa: A002 - the word of the command line
    out: PathLike,
    *,
    progress: bool = False,
    **settings: Any,
) -> SampleResult:
    """Draw points at which to check a map, as `hyseg sample` does.

    Args:
        map: The class raster.
        out: The layer of points.
        progress: Report progress on stderr.
        **settings: Fields of `settings.sample.SampleSettings`, such as `count=500`.

    Raises:
        HysegError: One of its kinds; nothing is then left behind.
        TypeError: If there is no such setting.
    """
    from hyseg_cli.settings.sample import SampleSettings
    from hyseg_cli.workflows import sample as workflow

    with _messages(progress=progress) as messages:
        return workflow.run(_settings(SampleSettings, map=map, out=out, **settings), messages)


def train(
    images: PathLike | None = None,
    labels: PathLike | None = None,
    *,
    out: PathLike,
    progress: bool = False,
    **settings: Any,
) -> TrainResult | None:
    """Train a model, as `hyseg train` does.

    Args:
        images: Folder of images, or one image.
        labels: Label rasters, or one vector file.
        out: The model file.
        progress: Report progress on stderr.
        **settings: Fields of `settings.train.TrainSettings`, such as `start="default"`.

    Returns:
        The model file and its scores; None in all processes but the first.

    Raises:
        HysegError: One of its kinds; `resume=True` continues.
        TypeError: If there is no such setting.
    """
    from hyseg_cli.report.training import Page
    from hyseg_cli.settings.train import TrainSettings
    from hyseg_cli.workflows.train import run as workflow

    chosen = _settings(TrainSettings, images=images, labels=labels, out=out, **settings)
    with _messages(progress=progress) as messages:
        return workflow.run(chosen, messages, Page(messages))


def info(
    path: PathLike | None = None, *, progress: bool = False, **settings: Any
) -> ModelInfo | SceneInfo | MapInfo:
    """Facts about a scene, a map or a model, as `hyseg info` shows them.

    Args:
        path: The file; None for the built-in model.
        progress: Report progress on stderr.
        **settings: Fields of `settings.info.InfoSettings`.

    Raises:
        HysegError: If the file cannot be read.
        TypeError: If there is no such setting.
    """
    from hyseg_cli.settings.info import InfoSettings
    from hyseg_cli.workflows.info import run as workflow

    chosen = _settings(InfoSettings, path=None if path is None else str(path), **settings)
    with _messages(progress=progress) as messages:
        return workflow.run(chosen, messages)


def load_model(model: PathLike | None = None, *, device: str = "auto") -> ArrayModel:
    """A model for arrays in memory.

    Args:
        model: A path, or a name that `hyseg models list` shows; None for the built-in model.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        HysegError: If there is no such model, or it is damaged.
    """
    from hyseg_cli.learn.inference.predictor import Predictor, choose_device
    from hyseg_cli.learn.model.locate import find_model
    from hyseg_cli.learn.model.weights import load_model as load

    loaded = load(find_model(model))
    return ArrayModel(loaded.card, Predictor(loaded, choose_device(device)))


@dataclass(frozen=True)
class ArrayModel:
    """A model that maps arrays, tile by tile, as `hyseg predict` maps a scene."""

    card: ModelCard
    """The card of the model."""
    predictor: Predictor
    """The network on its device."""

    @property
    def legend(self) -> Legend:
        """The classes, in the order of the probabilities."""
        return self.card.legend

    def predict(
        self,
        image: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_] | None = None,
        *,
        resolution_m: float | None = None,
        tile_size: int | None = None,
        overlap: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Class probabilities of an image.

        Args:
            image: (bands, height, width) in the values that the model was trained on, in the
                order of `card.bands`.
            valid: (height, width), False where the image holds no data; None for valid
                everywhere.
            resolution_m: Ground size of the pixels; the network sees them as in `hyseg predict`.
                None for pixels as they are.
            tile_size: Side of a tile in pixels of the network, a multiple of 32; None for what
                suits the model.
            overlap: Pixels that neighbouring tiles share; None for a quarter of the tile, at most
                128.

        Returns:
            float32 (N, height, width), summing to one over N; zero where nothing is valid.

        Raises:
            ModelMismatchError: If the bands of the image differ from those of the model, or its
                pixels differ too much in size.
            UsageProblemError: If tile size or overlap are not multiples of 32, or `valid` has
                another shape.
        """
        from hyseg_cli.learn.inference.in_memory import map_array
        from hyseg_cli.learn.model.contract import alignment_for

        side, shared = self.card.tiling(tile_size, overlap)
        return map_array(
            image,
            valid,
            self.predictor,
            bands=len(self.card.bands),
            tile_size=side,
            overlap=shared,
            alignment=alignment_for("the image", resolution_m, self.card),
        )


def _evaluate_pixels(
    maps: Sequence[PathLike], settings: Mapping[str, Any], messages: Messages
) -> Evaluation | Comparison:
    from hyseg_cli.settings.evaluate import EvaluateSettings
    from hyseg_cli.workflows.evaluate import run as workflow
    from hyseg_cli.workflows.evaluate import tables
    from hyseg_cli.workflows.evaluate.pictures import Gallery

    chosen = _settings(EvaluateSettings, maps=maps, **settings)
    gallery = None if chosen.report is None else Gallery()
    result = workflow.run(chosen, messages, gallery)
    if chosen.report is not None and gallery is not None:
        from hyseg_cli.report.evaluation import write_evaluation

        write_evaluation(chosen.report, chosen, result, gallery, None)
    if chosen.csv is not None:
        tables.write_csv(chosen.csv, result, kappa=chosen.kappa)
    workflow.check_thresholds(chosen, tables.evaluations_of(result))
    return result


def _evaluate_samples(
    maps: Sequence[PathLike], settings: Mapping[str, Any], messages: Messages
) -> SampleEvaluation | SampleComparison:
    from hyseg_cli.settings.sample import SampleEvaluationSettings
    from hyseg_cli.workflows.evaluate import samples as workflow

    first, other = (*maps, None)[:2]
    chosen = _settings(SampleEvaluationSettings, map=first, other=other, **settings)
    if chosen.other is not None:
        return workflow.compare_maps(chosen, chosen.other, messages)
    return workflow.run(chosen, messages)


@contextmanager
def _messages(*, progress: bool) -> Iterator[Messages]:
    """The messages of a run."""
    if not progress:
        yield Silence()
        return
    with Console() as console:
        yield console


def _settings(kind: type[_Settings], **values: Any) -> _Settings:
    """Settings from keyword arguments; strings may stand for paths and lists for tuples.

    Raises:
        TypeError: If a name is not that of a setting.
        HysegError: If a value is not allowed.
    """
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            longer = sorted(word for word in known if word.startswith(name))
            near = longer or get_close_matches(name, known)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{name!r} is not a setting of {kind.__name__}{meant}")
    return kind(**{name: _fitted(value, str(hints[name])) for name, value in values.items()})


def _fitted(value: Any, hint: str) -> Any:
    """A value in the type of a field, for the types that settings have."""
    if hint.startswith("tuple["):
        items = [value] if isinstance(value, str | Path | int | float) else value
        return tuple(Path(str(item)) if "Path" in hint else item for item in items)
    return Path(value) if "Path" in hint and isinstance(value, str) else value
