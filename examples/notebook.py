"""A scene in a notebook: python notebook.py SCENE.tif PICTURE.png [MODEL].

The cells (`# %%`) run one by one in VS Code, Spyder, or Jupyter with jupytext.
"""

# %%
from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import rasterio

import hyseg_cli as hyseg

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch

if len(sys.argv) not in (3, 4):
    sys.exit("usage: python notebook.py SCENE.tif PICTURE.png [MODEL]")
scene_path, picture, *chosen = sys.argv[1:]

# %% Read the scene, and map it in memory.
model = hyseg.load_model(*chosen)
with rasterio.open(scene_path) as scene:
    image = scene.read(list(range(1, len(model.card.bands) + 1)))
    valid = scene.dataset_mask() > 0
probabilities = model.predict(image, valid)
classes, confidence = probabilities.argmax(axis=0), probabilities.max(axis=0)

# %% Colours as the legend has them; white where the scene holds no data.
colors = np.array([entry.color for entry in model.legend.classes], np.uint8)
painted = np.where(valid[..., None], colors[classes], 255)

# %% Draw them side by side.
figure, axes = plt.subplots(1, 3, figsize=(15, 5.6), layout="constrained")
axes[0].imshow(np.moveaxis(image[:3], 0, -1))
axes[1].imshow(painted, interpolation="nearest")
shown = axes[2].imshow(np.where(valid, confidence, np.nan), vmin=0, vmax=1)
figure.colorbar(shown, ax=axes[2], shrink=0.8)
for axis, title in zip(axes, ("scene", "land cover", "largest probability"), strict=True):
    axis.set_title(title)
    axis.set_axis_off()
present = [index for index in range(len(colors)) if (classes[valid] == index).any()]
axes[1].legend(
    handles=[Patch(color=colors[i] / 255, label=model.legend.names[i]) for i in present],
    loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False,
)  # fmt: skip
figure.savefig(picture, dpi=80)
