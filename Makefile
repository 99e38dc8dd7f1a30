# Everything works from a clean clone with Python 3.11 or newer; the first target to run installs into .venv.
PYTHON ?= python3
BIN := .venv/bin
OLDEST := tests/test_artifact.py tests/test_checkpoint.py tests/test_pipeline.py tests/test_recipe.py tests/test_recipes.py \
  tests/data tests/models tests/train tests/compress/test_packing.py tests/cli/test_help.py

.PHONY: demo test test-slow test-oldest test-runtime fuzz audit check bench tables notebook clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: .venv/installed          ## the main job in minutes, on real images where there are any
	$(BIN)/snug demo

test: .venv/installed          ## unit and recipe tiers, a process a core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-slow: .venv/installed     ## half an hour: fifty kills, every failing write, 200 epochs
	$(BIN)/python -m pytest -m slow

test-oldest:                   ## a selection, with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c tests/oldest.txt -e . pytest hypothesis
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -W ignore -m pytest -p no:cacheprovider -W default $(OLDEST)

fuzz: .venv/installed          ## every reader of others' files, guided by coverage: ten minutes each, hours in all
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python tests/fuzz/guided.py --seconds 600

audit: .venv/installed         ## known weaknesses of what is installed; asks the network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	$(BIN)/python -m pip_audit --local --skip-editable --progress-spinner off

test-runtime:                  ## snugnet-runtime alone, in an environment without torch
	$(PYTHON) -m venv --clear .venv-runtime
	.venv-runtime/bin/python -m pip install --quiet --disable-pip-version-check './runtime[serve]' 'onnx>=1.18' 'pytest>=8'
	! .venv-runtime/bin/python -c 'import torch' 2>/dev/null
	.venv-runtime/bin/python -m pytest --confcutdir tests/runtime tests/runtime -p no:cacheprovider -o pythonpath=

check: .venv/installed         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed         ## the short benchmarks, results on stdout
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/augment.py
	$(BIN)/python benchmarks/scale.py --images 100000

tables: .venv/installed        ## README's tables and results/ from results/ledger.jsonl
	$(BIN)/python -m snugnet.report.tables

notebook: .venv/installed      ## docs/notebook.ipynb executed anew, a minute or two
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python docs/notebook.py

clean:
	rm -rf .venv .venv-runtime .venv-oldest .pytest_cache .mypy_cache .ruff_cache
