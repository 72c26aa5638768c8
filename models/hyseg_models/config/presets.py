"""Named configurations: each is a parent and the keys that differ from it.

The ablations are the rows of the paper's tables 3 to 5 as far as they can be read from what is
public, and the controls that show whether a *generative* prior is what helps.
"""

from __future__ import annotations

from typing import Any

from hyseg_models.config.config import HySegConfig
from hyseg_models.config.records import ConfigError

Changes = dict[str, Any]

_SIZES: dict[str, tuple[str, Changes]] = {
    # Without ImageNet weights the deepest ResNet stage of a second backbone costs 8 million
    # parameters and learns little; the prior's own U-Net already reaches stride 32.
    # What is named beside the strides mends faults of the first release; models of that release are
    # built as they were.
    "default": (
        "",
        {
            "prior.condition.strides": [4, 8, 16],
            "prior.net.noise_gate": True,
            "head.p2a.sigma_scope": "class",
            "head.p2a.gate": True,
        },
    ),
    "light": (
        "default",
        {"prior.stride": 8, "prior.net.mult": [1, 2, 4, 4], "prior.net.attn_ds": [2]},
    ),
    "mid": ("light", {"prior.net.base": 64}),
    # Tokens of a frozen transformer, for the host and for a light prior. Keys and values of the
    # attention are pooled to 256: eight heads on all cells were a third of a training step.
    "vit": (
        "light",
        {
            "host.backbone": "vit_small_patch14_dinov2",
            "host.frozen": True,
            "prior.condition.kind": "host",
            "prior.condition.strides": [16],
            "prior.condition.detail": 16,
            "prior.net.mult": [1, 2, 4],
            "head.attention.heads": 4,
            "head.attention.max_full": 256,
            "head.attention.kv": 256,
        },
    ),
    # Half as wide as `light` wherever it costs time; the backbone is made for processors.
    "fast": (
        "light",
        {
            "host.backbone": "tf_efficientnet_lite0",
            "prior.condition.kind": "stem",
            "prior.condition.width": 16,
            "prior.net.base": 16,
            "prior.net.mult": [1, 2, 4],
            "head.attention.heads": 4,
            "head.attention.max_full": 256,
            "head.attention.kv": 256,
        },
    ),
    "shared": ("default", {"prior.condition.kind": "host"}),
    "light-shared": ("light", {"prior.condition.kind": "host"}),
    # Without a prior: features are compared with each other, and there is no stage 1. What `train`
    # takes if nothing else is asked for, as no prior has been shown to improve a map.
    "plain": (
        "default",
        {
            "head.prior": "none",
            "head.p2a.source": "feature",
            "head.p2a.distance": "mean",
            "head.p2a.gate": False,
        },
    ),
    # What published tables of runs before the repairs stand for; laid over others.
    "unrepaired": (
        "default",
        {
            "prior.net.noise_gate": False,
            "head.p2a.sigma_scope": "level",
            "head.p2a.gate": False,
        },
    ),
    "cpu_smoke": (
        "default",
        {
            "prior.condition.strides": [4, 8],
            "prior.condition.width": 32,
            "prior.net.base": 16,
            "prior.net.mult": [1, 2, 2],
            "prior.net.blocks": 1,
            "head.dim": 32,
            "host.dim": 32,
            "head.segmentor.dim": 32,
            "head.pyramid.channels": [16, 16, 16],
        },
    ),
    "paper": (
        "",
        {
            "prior.embed": "ae",
            "prior.param": "u",
            "prior.beta": 1.0,
            "prior.smooth": 0.0,
            "prior.condition.kind": "stem",
            "prior.condition.width": 7,
            "prior.net.base": 64,
            "prior.net.mult": [1, 2, 4, 4],
            "prior.net.attn_ds": [2],
            "prior.net.norm": "group",
            "prior.time.kind": "logit_normal",
            "prior.time.t": [-0.4, 1.0],
            "prior.time.ratio": 0.25,
            "prior.time.endpoint_quota": 0.0,
            "prior.time.mean_quota": 0.0,
            "prior.objective.tangent": "cond",
            "prior.objective.fm_warmup": 0.0,
            "prior.objective.ramp": 0.0,
            "sample.noise": "random",
            "head.pyramid.source": "embedding",
            "head.pyramid.out": "raw",
            "head.pyramid.skip": False,
            "head.p2a.affinity": "softmax_exp",
            "head.p2a.sigma": "relu",
            "head.p2a.sigma_init": 1.0,
            "head.p2a.distance": "mean",
            "head.p2a.mask": False,
            "head.fuse": "conv",
            "head.zero_init": False,
            "head.attention.kind": "full",
            "head.attention.pos": "none",
            "host.decoder_extras": True,
        },
    ),
}

_HOSTS: dict[str, tuple[str, Changes]] = {
    "unetformer-r18": ("default", {}),
    "unetformer-lite0": ("default", {"host.backbone": "tf_efficientnet_lite0"}),
    "unetformer-r34": ("default", {"host.backbone": "resnet34"}),
    "unetformer-r50": ("default", {"host.backbone": "resnet50"}),
    "unetformer-convnext-b": ("default", {"host.backbone": "convnext_base"}),
    "dcswin-t": (
        "default",
        {
            "host.name": "dcswin",
            "host.backbone": "swin_tiny_patch4_window7_224",
            "host.dropout": 0.05,
            "host.drop_path": 0.2,
        },
    ),
    "dcswin-s": (
        "dcswin-t",
        {"host.backbone": "swin_small_patch4_window7_224", "host.drop_path": 0.3},
    ),
    "dcswin-b": (
        "dcswin-t",
        {
            "host.backbone": "swin_base_patch4_window7_224",
            "host.drop_path": 0.5,
            "head.dim": 128,
        },
    ),
    "lsknet-t": ("default", {"host.name": "lsknet", "host.backbone": "lsknet_t"}),
    "lsknet-s": ("lsknet-t", {"host.backbone": "lsknet_s"}),
    "d2ls": (
        "default",
        {"host.name": "d2ls", "host.backbone": "convnext_base", "host.dim": 256, "head.dim": 128},
    ),
}

_ABLATIONS: dict[str, tuple[str, Changes]] = {
    # Table 3, components
    "ablation-host": ("default", {"head.kind": "none"}),
    "ablation-das-no-prior": ("plain", {}),
    "ablation-das-uniform": (
        "default",
        {
            "head.prior": "none",
            "head.p2a.source": "uniform",
            "head.p2a.gate": False,
            "head.p2a.sigma_scope": "level",
        },
    ),
    "ablation-simple-fusion": ("default", {"head.message": "concat"}),
    "ablation-simple-fusion-add": ("default", {"head.message": "add"}),
    "ablation-no-p2a": ("default", {"head.message": "prior"}),
    "ablation-no-message": ("default", {"head.message": "descriptor"}),
    "ablation-message-identity": ("default", {"head.message": "identity", "head.prior": "none"}),
    "ablation-no-attention": ("default", {"head.attention.kind": "none"}),
    "ablation-full": ("default", {}),
    # Table 4, a discriminative prior
    "ablation-segmentor-prior": ("default", {"head.prior": "segmentor"}),
    # Table 5, sizes
    **{f"ablation-k{k}": ("default", {"head.p2a.kernel": k}) for k in (3, 5, 7, 9)},
    **{
        f"ablation-heads{heads}": ("default", {"head.attention.heads": heads})
        for heads in (1, 2, 4, 8, 16)
    },
    "ablation-sigma-learnable": ("default", {}),
    **{
        f"ablation-sigma-fixed-{sigma}": (
            "default",
            {"head.p2a.sigma": "fixed", "head.p2a.sigma_init": sigma},
        )
        for sigma in (0.25, 0.5, 1.0)
    },
    # Ours: where we depart from the paper
    "ablation-softmax-exp": ("default", {"head.p2a.affinity": "softmax_exp"}),
    "ablation-prior-in-message": ("default", {"head.message": "affinity_prior"}),
    "ablation-no-mask": ("default", {"head.p2a.mask": False}),
    "ablation-two-dilations": ("default", {"head.p2a.dilations": [1, 2]}),
    "ablation-two-steps": ("default", {"head.p2a.steps": 2}),
    "ablation-no-gate": ("default", {"head.p2a.gate": False}),
    "ablation-one-sigma": ("default", {"head.p2a.sigma_scope": "level"}),
    "ablation-noise-seen": ("default", {"prior.net.noise_gate": False}),
    "ablation-raw-pyramid": (
        "default",
        {"head.pyramid.out": "raw", "head.p2a.distance": "mean", "head.p2a.gate": False},
    ),
    "ablation-append": ("default", {"head.mode": "append"}),
    "ablation-decoder-extras": ("default", {"host.decoder_extras": True}),
    "ablation-window-attention": ("default", {"head.attention.kind": "window"}),
    "ablation-u-prediction": ("default", {"prior.param": "u"}),
    "ablation-x-softmax": ("default", {"prior.param": "x_softmax"}),
    "ablation-sdf": ("default", {"prior.embed": "sdf"}),
    "ablation-group-norm": ("default", {"prior.net.norm": "group"}),
    **{f"ablation-beta-{beta}": ("default", {"prior.beta": beta}) for beta in (0.1, 1.0)},
    "ablation-endpoints-half": ("default", {"prior.time.endpoint_quota": 0.5}),
    **{
        f"ablation-noise-{noise.replace(':', '')}": ("default", {"sample.noise": noise})
        for noise in ("random", "zero", "avg:4")
    },
    # Controls
    "control-disc": ("default", {"prior.training": "discriminative"}),
    "control-mean": ("default", {"sample.noise": "mean"}),
    "control-shuffled": ("default", {"head.prior": "shuffled"}),
    "control-gt": ("default", {"head.prior": "gt"}),
}

_PRESETS = _SIZES | _HOSTS | _ABLATIONS

PRESET_NAMES = tuple(_PRESETS)
"""Every preset; `NAME-host` besides is the bare host of any of them."""

_BASE = "default"
"""The preset that all but the paper's differ from."""

_HOST_SUFFIX = "-host"


def preset(name: str) -> HySegConfig:
    """The configuration called `name`, for three bands and seven classes.

    Names joined by + lay what the later ones change over the first:
    `cpu_smoke+ablation-no-p2a` is the ablation of the small network.

    Raises:
        ConfigError: If there is no such preset, or two do not go together.
    """
    first, *others = name.split("+")
    changes = _changes(first)
    for other in others:
        changes |= _changes(other, above=_BASE)
    return HySegConfig().override(changes)


def _changes(name: str, above: str = "") -> Changes:
    """What a preset changes, its parents first; parents from `above` on count as given."""
    if name == above:
        return {}
    if name in _PRESETS:
        parent, changes = _PRESETS[name]
        return _changes(parent, above) | changes
    stem = name.removesuffix(_HOST_SUFFIX)
    if stem != name and stem in _PRESETS:
        return _changes(stem, above) | {"head.kind": "none"}
    message = f"no preset {name!r}; there are {', '.join((*_SIZES, *_HOSTS))} and the ablations"
    raise ConfigError(message)
