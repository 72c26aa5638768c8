# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer and nothing else.
# Every target installs what it needs into .venv and does so only once.

PYTHON ?= python3
TESTERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test test-fast test-slow fuzz test-browser test-qgis qgis-zip \
    test-packaging bench lint lint-image sbom release format docs man clean train-default experiments evidence

help:
	@echo "make demo               train, map, evaluate and vectorize two small scenes"
	@echo "make demo SCENE=x.tif   map your own scene with the built-in model"
	@echo "make test               the tests that take a quarter of an hour, two at once"
	@echo "make test-fast          unit and property tests, under two minutes"
	@echo "make test-slow          the tests that take many minutes"
	@echo "make fuzz               try odd and damaged inputs for FUZZ_MINUTES each"
	@echo "make test-browser       open reports in chromium, if it is installed"
	@echo "make test-qgis          install QGIS if need be, and open outputs in it"
	@echo "make qgis-zip           pack the QGIS plugin into build/hyseg_qgis.zip"
	@echo "make test-packaging     install from source, editable and from an sdist"
	@echo "make bench              print benchmarks"
	@echo "make docs               build the documentation into build/site"
	@echo "make man                write the man pages into build/man"
	@echo "make train-default DATA=data/ WEIGHTS=vit.safetensors   train the built-in model again"
	@echo "make experiments DATA=dubai/     train and measure what each part adds; days on a CPU"
	@echo "make evidence RUNS=runs/         the tables of these experiments"
	@echo "make lint               ruff, mypy, import directions"
	@echo "make lint-image         hadolint on the Dockerfile"
	@echo "make sbom               what is pinned, with licences, as CycloneDX in build/hyseg.cdx.json"
	@echo "make release            sdist, wheel, QGIS plugin and SBOM in dist/, with checksums"

# The pins are part of the stamp: another constraints file installs again.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/quickstart.sh $(if $(SCENE),"$(SCENE)")

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --durations 20

# Unit and property tests of each room; whole commands and trainings are left to `make test`.
FAST := $(addprefix tests/,cli geo models sampling settings $(addprefix learn/,data inference model scores))
test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -q -n $(TESTERS) --dist loadfile $(wildcard $(FAST)) tests/test_structure.py \
	    tests/test_errors.py tests/test_legend.py tests/test_legend_files.py tests/test_messages.py \
	    -k "not in_the_interpreter and not training_on_pictures"

test-slow: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ray]"
	$(BIN)/python -m pytest -m slow --timeout 3600

# Minutes for each of the fourteen fuzzers, two at once; FUZZ_FIGURES=file notes what was tried.
FUZZ_MINUTES ?= 3

fuzz: $(INSTALLED)
	FUZZ_MINUTES=$(FUZZ_MINUTES) $(BIN)/python -m pytest tests/fuzz -m fuzz -n $(TESTERS) --timeout 7200

test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[browser]"
	$(BIN)/python -m pytest -m browser

test-qgis: $(INSTALLED)
	PYTHON=$(BIN)/python sh tests/qgis/install_and_check.sh

# plugins.qgis.org also asks for HOME_URL, a public repository, and EMAIL.
qgis-zip: $(INSTALLED)
	mkdir -p build
	$(BIN)/python -m hyseg_cli qgis zip --out build/hyseg_qgis.zip --overwrite \
	    $(if $(HOME_URL),--home "$(HOME_URL)") $(if $(EMAIL),--email "$(EMAIL)")

test-packaging: $(INSTALLED)
	$(BIN)/python -m pytest -m packaging --timeout 1200

bench: $(INSTALLED)
	$(BIN)/python -m pytest tests/benchmarks -m bench --timeout 3600 -s

docs: $(INSTALLED)
	$(BIN)/python -m mkdocs build --strict

man: $(INSTALLED)
	$(BIN)/python docs/generate/manual_pages.py build/man

EXPERIMENTS := examples/experiments
PLANS ?= components choices
RUNS ?= runs

HELD_OUT := --val-scenes 'dubai/Tile [23]*' --val-scenes 'ohio*/strip 1' --val-scenes 'california*/[lp]*'

train-default: $(INSTALLED)
	$(BIN)/hyseg train --config examples/land_cover.toml --root "$(DATA)" --backbone-weights "$(WEIGHTS)" \
	    $(HELD_OUT) --out land_cover_natural.safetensors --resume
	$(BIN)/hyseg train --config examples/land_cover_false_colours.toml --root "$(DATA)" $(HELD_OUT) \
	    --from land_cover_natural.safetensors --out land_cover_false_colours.safetensors --resume
	$(BIN)/hyseg train --config examples/land_cover_drawn.toml --root "$(DATA)" $(HELD_OUT) \
	    --from land_cover_false_colours.safetensors --out land_cover.safetensors --resume

experiments: $(INSTALLED)
	for plan in $(PLANS); do \
	    $(BIN)/python $(EXPERIMENTS)/run.py $(EXPERIMENTS)/$$plan.toml --data "$(DATA)" \
	        --legend examples/dubai.legend.json --out $(RUNS) || exit; \
	done

evidence: $(INSTALLED)
	for plan in $(PLANS); do \
	    $(BIN)/python $(EXPERIMENTS)/tables.py $(EXPERIMENTS)/$$plan.toml --runs $(RUNS) || exit; \
	done

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_structure.py -q

lint-image: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[release]"
	$(BIN)/hadolint Dockerfile

# Of the environment that the tests ran in, whose versions constraints.txt pins.
sbom: $(INSTALLED)
	mkdir -p build
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[release]"
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	    --output-reproducible --of JSON --output-file build/hyseg.cdx.json

release: sbom qgis-zip
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	cp build/hyseg.cdx.json build/hyseg_qgis.zip dist/
	cd dist && sha256sum * > SHA256SUMS

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist
