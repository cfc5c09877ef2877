# All tasks start here; `make help` lists them. The first target that needs it creates .venv from the locked packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := exporter admin adapters rollup grafana presentation attack bench crash demo docs faults fuzz servers soak tests
SIZE ?= 1000000
MINUTES ?= 10
PROCESSES ?= 2
BENCH_PACKAGES := prometheus-sql-exporter prometheus-postgres-exporter mtail prometheus-redis-exporter nginx-light wrk
ARGS ?=
HOURS ?= 1
SEED ?= 7
LOWEST ?= $(or $(TMPDIR),/tmp)/hivesync-analytics-lowest

.DEFAULT_GOAL := help
.PHONY: help setup page packages fmt lint types test attack bench crash faults fuzz soak demo generate lock lowest clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/installed page ## make .venv with the locked packages (every other target does it by itself)

$(VENV)/installed: requirements/dev.lock pyproject.toml tools/setup.sh
	@PYTHON=$(PYTHON) tools/setup.sh $(VENV)

page: $(VENV)/installed
	@tools/page.sh $(BIN)/python

packages: ## install the tests' packages from Debian (Prometheus, VictoriaMetrics, Chromium, Redis, ...), or name them
	@command -v prometheus >/dev/null && command -v promtool >/dev/null && command -v amtool >/dev/null && \
	  { command -v prometheus-alertmanager || command -v alertmanager; } >/dev/null && \
	  command -v victoria-metrics >/dev/null && command -v vmagent >/dev/null || \
	  tools/packages.sh prometheus prometheus-alertmanager victoria-metrics || true
	@command -v chromium >/dev/null || tools/packages.sh chromium || true
	@command -v redis-server >/dev/null || tools/packages.sh redis-server || true
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || tools/packages.sh nginx-light || true
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || tools/packages.sh pgbouncer || true
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || tools/packages.sh postgresql || true
	@tools/packages.sh logrotate faketime strace bzip2 xz-utils zstd || true

demo: $(VENV)/installed page ## everything on embedded servers with live made-up traffic (ARGS="--users 500 --speed 2")
	@$(BIN)/python -m demo $(ARGS)

test: $(VENV)/installed page packages lint types ## every test, as CI runs them (ARGS="-k rotation"; PROCESSES=0 with "--pdb" or "-s")
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(VENV)/installed ## the cost of the exporter beside its peers, in under ten minutes (SIZE=10000000, ARGS="--only logs,redis")
	@tools/packages.sh $(BENCH_PACKAGES) || true
	@$(BIN)/python -m bench --size $(SIZE) $(ARGS)

attack: $(VENV)/installed page ## some 780 attacks on a demo, or on a running instance of this machine (ARGS="--metrics-url URL --admin-url URL")
	@$(BIN)/python -m attack $(ARGS)

faults: $(VENV)/installed packages ## every fault, and pairs of them, with a table in docs/reliability.md (ARGS="--only redis-killed")
	@$(BIN)/python -m faults $(ARGS)

crash: $(VENV)/installed packages ## each system call of a save or a log's reading fails, or is the last; a table in docs/reliability.md (ARGS="--only rollup")
	@$(BIN)/python -m crash $(ARGS)

fuzz: $(VENV)/installed ## ten minutes of inputs to every reader of foreign input, with a table in docs/reliability.md (MINUTES=60, ARGS="--only tokens")
	@$(BIN)/python -m fuzz --minutes $(MINUTES) $(ARGS)

soak: $(VENV)/installed page packages ## load and a fault a minute for hours, and the trend of every resource (HOURS=0.5 SEED=7)
	@$(BIN)/python -m soak --hours $(HOURS) --seed $(SEED) $(ARGS)

lint: $(VENV)/installed ## ruff: style and mistakes
	@$(BIN)/ruff format --check --quiet $(PACKAGES) || { echo "run 'make fmt'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(PACKAGES)

types: $(VENV)/installed ## mypy --strict
	@$(BIN)/mypy --no-error-summary

fmt: $(VENV)/installed ## format the code
	@$(BIN)/ruff format --quiet $(PACKAGES)
	@$(BIN)/ruff check --fix --quiet $(PACKAGES)

generate: $(VENV)/installed ## write the files generated from the code (docs/metrics.md, docs/settings.md, grafana/)
	@$(BIN)/python -m docs.generate
	@$(BIN)/python -m grafana

lock: $(VENV)/installed ## resolve the packages again, with hashes and without index addresses
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade \
	  --custom-compile-command "make lock" pyproject.toml -o requirements/runtime.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade \
	  --custom-compile-command "make lock" pyproject.toml --group dev -c requirements/runtime.lock -o requirements/dev.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --upgrade \
	  --custom-compile-command "make lock" --group node -o requirements/node.lock

lowest: $(VENV)/installed page packages ## the tests on the lowest versions of all dependencies, in a folder outside the tree (LOWEST=/tmp/lowest)
	@tools/lowest.sh $(BIN)/uv $(LOWEST) $(ARGS)

clean: ## remove the files of the other targets
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build admin/page/node_modules
