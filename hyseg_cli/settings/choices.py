"""What a setting can be, where only a few words are allowed; the command line offers the same."""

from typing import Literal

VECTOR_SUFFIXES = (".gpkg", ".fgb", ".parquet", ".geojson", ".geojsonl", ".shp")
"""Of layers that can be written; the suffix chooses the format."""
VECTOR_HINT = "The suffix chooses the format: .gpkg, .fgb, .parquet, .geojson, .geojsonl or .shp."

Allocation = Literal["proportional", "equal", "neyman", "olofsson"]
Benchmark = Literal["loveda", "uavid", "potsdam", "vaihingen"]
BenchmarkPart = Literal["val", "test"]
ClassWeights = Literal["none", "sqrt", "inverse"]
Collar = Literal["auto", "none"]
Connectivity = Literal[4, 8]
ExportFormat = Literal["onnx", "pt2"]
Frozen = Literal["none", "backbone"]
Unfrozen = Literal["none", "last", "all"]
LoggerName = Literal["tensorboard", "mlflow", "wandb"]
MergedInto = Literal["longest-border", "largest"]
Noise = Literal["position", "mean", "zero"]
OnError = Literal["skip", "stop"]
Precision = Literal["auto", "float32", "bfloat16"]
Resampling = Literal["nearest", "mode"]
Sampling = Literal["area", "classes"]
Stage = Literal["all", "prior", "segmentation"]
TestTimeAugmentation = Literal["none", "flip", "d4", "multiscale"]
