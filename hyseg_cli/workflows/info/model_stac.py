"""The STAC Item of a model file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.output.stac import (
    CLASSIFICATION,
    FILE,
    MACHINE_LEARNING_MODEL,
    class_objects,
    file_fields,
    link_to,
    make_item,
)
from hyseg_cli.learn.model.card import ModelCard, digest_of
from hyseg_cli.learn.model.locate import SUFFIX
from hyseg_cli.settings.info import InfoSettings
from hyseg_cli.workflows.info.run import ModelInfo, describe_model, model_meant

Json = dict[str, Any]

TASKS = ["semantic-segmentation"]
ANY = -1
"""Means a side or a batch of any size."""
SEMANTIC_VERSION = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
ALWAYS = {"start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
"""Nothing ties a model to images of some years."""


def run(settings: InfoSettings) -> Json:
    """The STAC Item of a model, as it would stand beside it.

    Raises:
        UsageProblemError: If the settings do not name a model.
    """
    model = model_meant(settings.path)
    if model is None:
        raise UsageProblemError(
            f"`stac`: {settings.path} is not a model",
            hint="`hyseg predict` and `hyseg vectorize` write Items of their outputs, with `stac`.",
        )
    info = describe_model(model)
    return model_item(info, info.path.parent)


def model_item(info: ModelInfo, folder: Path) -> Json:
    """The Item of a model, for a folder."""
    card = info.card
    name = re.sub(r"[^0-9A-Za-z_.-]+", "-", info.path.name.removesuffix(SUFFIX)).strip("-._")
    asset = {
        "href": link_to(info.path, folder),
        "type": "application/octet-stream; framework=pytorch; format=safetensors",
        "title": "Weights and card of the model",
        "roles": ["mlm:model", "mlm:weights", "model", "weights"],
        "mlm:artifact_type": "safetensors",
        # Inputs name their bands by these.
        "bands": [{"name": band, "data_type": card.dtype} for band in card.bands],
        **file_fields(info.path),
    }
    properties = {
        "datetime": None,
        **ALWAYS,
        "description": f"Land cover in {len(card.legend)} classes from {', '.join(card.bands)}.",
        "mlm:name": f"HySeg-{name}" if name else "HySeg",
        "mlm:architecture": f"HySeg on {card.config.host.name}, {card.config.host.backbone}",
        "mlm:tasks": TASKS,
        "mlm:framework": "PyTorch",
        "mlm:total_parameters": next(iter(info.costs.values())).whole.parameters,
        "mlm:accelerator": None,
        "mlm:input": [_input(card)],
        "mlm:output": [_output(card)],
        "mlm:hyperparameters": {"temperature": card.temperature},
        "hyseg:model": digest_of(info.path),
        **_known(card),
    }
    version = str(card.training.get("torch", ""))
    if SEMANTIC_VERSION.fullmatch(version):
        properties["mlm:framework_version"] = version
    return make_item(
        str(properties["mlm:name"]),
        scene=None,
        properties=properties,
        assets={"mlm:model": asset},
        extensions=(MACHINE_LEARNING_MODEL, FILE, CLASSIFICATION),
    )


def _input(card: ModelCard) -> Json:
    scaling = [
        {"type": "z-score", "mean": mean, "stddev": std}
        for mean, std in zip(card.mean, card.std, strict=True)
    ]
    described = f"Values as in scenes of {card.dtype}"
    if card.limits is not None:
        pairs = zip(card.bands, *card.limits, strict=True)
        cut = ", ".join(f"{band} to {low:g} and {high:g}" for band, low, high in pairs)
        described += f", cut beforehand: {cut}"
    if card.resolution_m is not None:
        low, high = card.resolution_m
        described += f"; pixels of {low:g} to {high:g} m"
    return {
        "name": "scene",
        "description": f"{described}.",
        "bands": list(card.bands),
        "input": _array(len(card.bands), "channel"),
        "value_scaling": scaling,
        "resize_type": None,
    }


def _output(card: ModelCard) -> Json:
    return {
        "name": "land cover",
        "description": "Logits of the classes in this order; divide them by the temperature.",
        "tasks": TASKS,
        "result": _array(len(card.legend), "class"),
        "classification:classes": class_objects(card.legend),
    }


def _array(size: int, name: str) -> Json:
    return {
        "shape": [ANY, size, ANY, ANY],
        "dim_order": ["batch", name, "height", "width"],
        "data_type": "float32",
    }


def _known(card: ModelCard) -> Json:
    """Training data and scores, as far as the card has them."""
    scores = {key: value for key, value in card.metrics.items() if isinstance(value, float | str)}
    values = {
        "hyseg:data": card.data.name,
        "hyseg:licence": card.data.licence,
        "hyseg:attribution": card.data.attribution,
        "hyseg:metrics": scores,
    }
    return {key: value for key, value in values.items() if value}
