# Everything a fresh machine needs: Python 3.11, 3.12 or 3.13, and make. `make demo` and `make test` do the rest.
# The first on the PATH that is one of the three; a name that a version manager has left may start nothing.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && command -v $$python && exit; done; echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := OMP_NUM_THREADS=1 $(BIN)/python

.PHONY: help bench gpu-check demo picture readme claims test test-cluster test-faults test-fast lint lock clean cluster-up cluster-down cluster-demo

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: requirements.txt requirements-uv.txt pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed;" \
		"$(PYTHON) is $$($(PYTHON) --version 2>&1). Install one, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

env: $(VENV)/.ready      ## the environment, from hash-checked requirements

demo: env      ## Table 3 at mini scale, trained here
	$(RUN) -m replicate table --id distillation_ablation

readme: env      ## the overview of all tables in README.md, from what is stored
	$(RUN) -m replicate report --readme README.md

picture: env      ## docs/demo.svg, the picture of README.md: what the demo prints
	FORCE_COLOR=1 COLUMNS=112 $(RUN) -m replicate table --id distillation_ablation --no-run | \
		$(BIN)/python docs/picture.py "make demo" > docs/demo.svg.new && mv docs/demo.svg.new docs/demo.svg

claims: env      ## docs/claims.md, from the specs
	$(RUN) -m replicate claims --markdown > docs/claims.md.new && mv docs/claims.md.new docs/claims.md

# As root the Debian packages are installed where they are missing; else `up` says which they are.
cluster-up: env      ## a real four-node Slurm on this machine (docs/cluster.md)
	slurm/testbed/up $(if $(filter 0,$(shell id -u)),--install) --python $(abspath $(BIN)/python)

cluster-down:      ## stop it; its results stay
	slurm/testbed/down

cluster-demo: cluster-up      ## Table 3 at mini scale through that Slurm
	$(RUN) -m replicate table --id distillation_ablation --cluster testbed --wait

# Two at a time, since most of them wait; but for Table 3 itself, which fills both cores.
test: env lint      ## all but what a cluster does to jobs (23 minutes on 2 cores beside test-cluster); skips what needs a missing program
	$(RUN) -m pytest -n 2 --dist worksteal -m "not slow_slurm and not slurm_fault and not alone"
	$(RUN) -m pytest -m alone

test-cluster: env      ## the quick two thirds of what a cluster does to jobs (28 minutes beside test)
	$(RUN) -m pytest -m slurm_quick tests/cluster

test-faults: env      ## all of that, done for real on a Slurm of this machine, and Table 3 through it (45 minutes beside test)
	$(RUN) -m pytest tests/engine/test_fake_gpu.py
	$(RUN) -m pytest -m "slurm_fault or slow_slurm" tests/cluster tests/store/test_owners.py tests/engine/test_step.py

# All of these need torch or matplotlib, and collecting them would import it for tests that are then left out.
HEAVY := tests/engine tests/figures/test_drawn.py tests/nightly/test_nights.py \
	$(addprefix tests/backends/test_,accidents.py any_workers.py from_released.py worker.py)

# With bytecode: two thirds of collecting, in each of both processes, is compiling. No test awaits what anyio starts.
test-fast: env      ## what needs no torch
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -n 2 -p no:anyio $(addprefix --ignore=,$(HEAVY)) \
		-m "not torch and not latex and not slurm and not slurm_fault and not browser and not drawn"

bench: env      ## the quick benchmarks in one table (2 minutes on an idle machine); the others: docs/benchmarks.md
	$(RUN) benchmarks

# The first Python that has torch and timm, since a GPU machine often has its own: nothing is installed.
HAS_TORCH := import sys; from importlib.util import find_spec; sys.exit(not (find_spec("torch") and find_spec("timm")))
gpu-check:      ## whether a GPU computes what the processor does, and how fast (8 minutes, no data)
	@for python in $(if $(filter command,$(firstword $(origin PYTHON))),$(PYTHON)) $(BIN)/python python3 python3.13 \
		python3.12 python3.11; do $$python -c '$(HAS_TORCH)' 2>/dev/null && exec $$python benchmarks/gpu_check; done; \
		exec $(PYTHON) benchmarks/gpu_check

lint: env      ## style and types
	$(BIN)/ruff check replicate tests benchmarks
	$(BIN)/ruff format --check replicate tests benchmarks
	$(BIN)/mypy

# `fewest`: each package in one version for all three Pythons, so that the number of a table does not hang on which.
lock: env      ## requirements.txt again from requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-header requirements.in -o requirements.txt
	sed -n '/^uv==/,/^[^ ]*==/{/^uv==/p;/^ *--hash/p}' requirements.txt > requirements-uv.txt

clean:      ## the environment and rendered files; stored results stay
	rm -rf $(VENV) out build *.egg-info
