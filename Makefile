# Shotwise. `make help` explains the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo up down test test-services campaign-resume campaign-crash campaign-team campaign-scale drill-kill drill-load bench screenshots audit lint check clean
.DEFAULT_GOAL := help

help:  ## explain every target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 18

setup: $(STAMP)  ## create .venv and install the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 2 .venv/lib shotwise flows deployments tasks problems measurement optimizers backends ledger || true
	$(BIN)/python -m tasks.prefect_server --make-template >/dev/null
	$(BIN)/python -m tasks.tracking --make-template 2>/dev/null
	touch $(STAMP)

demo: setup  ## run a VQE on H2 and a MaxCut QAOA (a minute or two), and say where to look next
	@echo "== H2: ground-state energy from its geometry"
	@$(BIN)/shotwise run examples/h2.yaml
	@echo "== MaxCut on a 3-regular graph of 12 nodes"
	@$(BIN)/shotwise run examples/maxcut_3regular.yaml
	@$(BIN)/shotwise runs
	@echo "Look at both in the Prefect and MLflow UIs: $(BIN)/shotwise ui"

up: setup  ## start a team's services on this machine: PostgreSQL, MLflow, Prefect, a worker
	@$(BIN)/shotwise up

down: setup  ## end what `make up` started; state stays
	@$(BIN)/shotwise down

test: setup  ## run all tests but those of services and the long campaigns, which have targets of their own
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

test-services: setup  ## the tests that start a team's services or several commands at once, one after the other
	$(BIN)/python -m pytest -m services --durations=10 tests/simulation

campaign-resume: setup  ## kill thirty runs and a scan at seeded moments and compare every byte
	$(BIN)/python -m pytest -m campaign -s tests/simulation/test_resume.py tests/simulation/test_scan.py tests/simulation/test_sweep.py

bench: setup  ## time the engines against others; tables, CSV and plots into build/bench
	@mkdir -p build/bench
	@test -d build/bench/qokit || { $(BIN)/python -m pip download --quiet --no-deps -d build/bench qokit==0.1.4 \
		&& $(BIN)/python -m zipfile -e build/bench/qokit-*.whl build/bench/qokit; } || echo "no QOKit: left out"
	@for script in $(wildcard benchmarks/engines_*.py) $(wildcard $(addprefix benchmarks/,growth.py whole_run.py loop_cost.py sweep.py)); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

screenshots: setup  ## make the pictures in docs/images from real runs (needs Chromium)
	PYTHONPATH=. $(BIN)/python docs/screenshots.py

drill-kill: setup  ## 20 seeded SIGKILLs of workers over a queue of 10 paid runs
	$(BIN)/python benchmarks/kill_drill.py

drill-load: setup  ## 50 runs at once on two workers
	$(BIN)/python benchmarks/load_drill.py

audit: setup  ## look for known vulnerabilities of what is pinned; asks an advisory service on the network
	$(BIN)/uv run --with pip-audit --no-project pip-audit --strict --progress-spinner off --no-deps --disable-pip -r constraints.txt

campaign-team: setup  ## Prefect's server away for a minute during a paid run; what was paused there outlives `up`
	$(BIN)/python -m pytest -m campaign tests/simulation/test_team.py tests/simulation/test_pauses.py

campaign-scale: setup  ## two servers, two queues, one budget, on a full PostgreSQL and Redis
	$(BIN)/python -m pytest -m campaign -rs tests/simulation/test_team_scale.py

campaign-crash: setup  ## kill a hundred paid runs on a faulty provider at seeded moments and compare books and results
	$(BIN)/python -m pytest -m campaign -s tests/simulation/test_crash_sandbox.py

lint: setup  ## ruff, pyright and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pip check

check: lint test-services test  ## lint, then all tests; CI runs `make audit` and `make campaign-scale` too

clean:  ## remove the virtual environment, the state folder and what benchmarks built
	rm -rf .venv .shotwise build
