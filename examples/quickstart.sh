#!/bin/sh
# From nothing to a map and its polygons, in the folder ./demo:
#   quickstart.sh            writes two scenes, trains on one, maps and evaluates the other
#   quickstart.sh SCENE.tif  maps your own scene with the built-in model
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
demo=demo
mkdir -p "$demo"

say() { printf '\n== %s\n' "$*"; }

if [ $# -gt 0 ]; then
    say "Mapping $1 with the built-in model"
    hyseg predict "$1" --out "$demo/own.tif" --preview "$demo/own.png" --overwrite
    hyseg vectorize "$demo/own.tif" --out "$demo/own.gpkg" --overwrite
    exit 0
fi

say "Writing two scenes with labels"
python "$here/make_scene.py" "$demo" --name east --seed 1
python "$here/make_scene.py" "$demo" --name west --seed 2

say "Training a small network on the eastern scene, both stages"
hyseg train --images "$demo/images/east.tif" --labels "$demo/labels/east.tif" \
    --legend "$demo/legend.json" --out "$demo/small.safetensors" \
    --config "$here/quickstart.toml" --overwrite

say "Mapping the western scene, which the network has not seen, and drawing it beside its map"
hyseg predict "$demo/images/west.tif" --model "$demo/small.safetensors" \
    --out "$demo/west.tif" --preview "$demo/west.png" --overwrite

say "Comparing the map with the truth"
hyseg evaluate "$demo/west.tif" --reference "$demo/labels/west.tif"

say "Turning the map into polygons"
hyseg vectorize "$demo/west.tif" --out "$demo/west.gpkg" \
    --mmu 25px --smooth --simplify 1px --overwrite

say "Drawing the map beside its polygons"
python "$here/polygons.py" "$demo/west.tif" "$demo/west.gpkg" "$demo/polygons.png"

say "Everything is in $demo"
ls -l "$demo"

say "To map a scene of your own with the built-in model: make demo SCENE=scene.tif"
