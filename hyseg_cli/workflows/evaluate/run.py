"""`hyseg evaluate`: how well maps agree with a reference, in pixels and in shape."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from hyseg_cli.errors import CheckFailedError
from hyseg_cli.geo.raster.gdal import gdal_env
from hyseg_cli.learn.data.label_sources import warnings_of
from hyseg_cli.learn.scores.bootstrap import FEW_BLOCKS
from hyseg_cli.learn.scores.comparison import Comparison
from hyseg_cli.learn.scores.crosswalk import keep_common
from hyseg_cli.learn.scores.evaluation import Evaluation, PatchCounts, count_patch
from hyseg_cli.messages import Messages
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.workflows.evaluate.maps import EvaluatedMaps, open_maps
from hyseg_cli.workflows.evaluate.pictures import Gallery
from hyseg_cli.workflows.evaluate.protocol import patches_of, warn_of_unmatched
from hyseg_cli.workflows.outputs import require_free

CACHE_MIB = 256
"""Patches of neighbouring rows share blocks; this holds those of a map 200,000 pixels wide."""


def run(
    settings: EvaluateSettings, messages: Messages, gallery: Gallery | None = None
) -> Evaluation | Comparison:
    """Measure one map, compare two maps, or measure a model.

    Args:
        settings: What to measure, and how.
        messages: Where messages go.
        gallery: Collects pictures of the compared rasters; None to keep none.

    Raises:
        HysegError: If a file is damaged, or map and reference have no location or class in common.
    """
    if settings.csv is not None:
        require_free(settings.csv, overwrite=settings.overwrite, flag="`csv`")
    if settings.report is not None:
        require_free(settings.report, overwrite=settings.overwrite, flag="`report`")
    if not settings.maps:
        # Only this way needs torch, which takes seconds and 300 MiB to load.
        from hyseg_cli.workflows.evaluate.model import evaluate_model

        return evaluate_model(settings, messages, gallery)
    with ExitStack() as stack:
        stack.enter_context(gdal_env(CACHE_MIB))
        maps = open_maps(settings, stack)
        counts_of_maps = _count(maps, messages, gallery)
    warn_of_unmatched(maps.reference.unmatched, messages)
    references = () if settings.reference is None else (settings.reference,)
    for warning in warnings_of(references, settings.class_field):
        messages.warn(warning)
    evaluations = [
        Evaluation.of(
            counts,
            maps.reference.crosswalk.legend,
            maps.protocol,
            name=str(path),
            reference=str(settings.reference),
            unmatched=maps.reference.unmatched,
            scenes=(str(path),),
        )
        for counts, path in zip(counts_of_maps, settings.maps, strict=True)
    ]
    if len(evaluations) == 1:
        return evaluations[0]
    comparison = Comparison.of(*evaluations)
    if comparison.blocks < FEW_BLOCKS:
        messages.warn(
            f"the intervals rest on {comparison.blocks} patches only and may be too narrow; "
            "a smaller `patch_size` gives more, if errors do not extend across them"
        )
    return comparison


def _count(maps: EvaluatedMaps, messages: Messages, gallery: Gallery | None) -> list[PatchCounts]:
    """Read all patches once; with several maps, only pixels that all of them know count."""
    protocol, classes = maps.protocol, len(maps.reference.crosswalk.legend)
    counts_of_maps = [PatchCounts(classes) for _ in maps.sources]
    scene = maps.scene
    patches = patches_of(scene.height, scene.width, protocol)
    if gallery is not None:
        gallery.begin(scene.path, scene.height, scene.width, maps=len(counts_of_maps), scene=scene)
    for done, patch in enumerate(patches, 1):
        found = [source.read(patch.read) for source in maps.sources]
        known = maps.reference.read(patch)
        keep_common(found)
        for counts, channels, lines in zip(counts_of_maps, found, maps.lines, strict=True):
            counts.add(
                count_patch(patch, known, channels, classes, disc=protocol.disc, lines=lines)
            )
        if gallery is not None:
            gallery.add(patch, known, found)
        messages.advance("comparing", done, len(patches))
    return counts_of_maps


def check_thresholds(settings: EvaluateSettings, evaluations: Sequence[Evaluation]) -> None:
    """Fail if a score is below its threshold, or undefined.

    Raises:
        CheckFailedError: Naming every score that is too low.
    """
    misses = []
    for evaluation in evaluations:
        for threshold in settings.thresholds:
            scores = evaluation.overall()
            if threshold.class_name is not None:
                scores = evaluation.by_class()[threshold.class_name]
            value = scores.get(threshold.metric, float("nan"))
            # NaN is not at least anything: an undefined score fails.
            if not value >= threshold.least:
                misses.append(
                    f"{threshold.name} of {evaluation.name} is {value:.4f}, "
                    f"below {threshold.least:g}"
                )
    if misses:
        raise CheckFailedError("; ".join(misses), hint="Look at the table of classes for why.")
