# Shotwise. `make help` explains the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo test campaign-resume campaign-crash lint check clean
.DEFAULT_GOAL := help

help:  ## explain every target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 18

setup: $(STAMP)  ## create .venv and install the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 2 .venv/lib shotwise flows tasks problems measurement optimizers backends ledger || true
	$(BIN)/python -m tasks.prefect_server --make-template >/dev/null
	$(BIN)/python -m tasks.tracking --make-template 2>/dev/null
	touch $(STAMP)

demo: setup  ## run a VQE on H2 and a MaxCut QAOA, and say where to look next
	@echo "== H2: ground-state energy from its geometry"
	@$(BIN)/shotwise run examples/h2.yaml
	@echo "== MaxCut on a 3-regular graph of 12 nodes"
	@$(BIN)/shotwise run examples/maxcut_3regular.yaml
	@$(BIN)/shotwise runs
	@echo "Look at both in the Prefect and MLflow UIs: $(BIN)/shotwise ui"

test: setup  ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=10

campaign-resume: setup  ## kill thirty runs at seeded moments and compare every byte
	$(BIN)/python -m pytest -m campaign -s tests/simulation/test_resume.py

campaign-crash: setup  ## kill a hundred paid runs on a faulty provider at seeded moments and compare books and results
	$(BIN)/python -m pytest -m campaign -s tests/simulation/test_crash_sandbox.py

lint: setup  ## ruff, pyright and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint test  ## everything that CI runs

clean:  ## remove the virtual environment and the state folder
	rm -rf .venv .shotwise
