# All commands of the project; `make` lists them. Needs Python 3.11 or later. RUNTIME=compose also needs Docker, and
# RUNTIME=kubernetes needs kubectl and a KUBECONFIG.

PATTERN ?= web_single
RUNTIME ?= auto
PORT ?= 8000
GRPC_PORT ?=
BIND ?= 127.0.0.1
VARIANT ?=
SCALE ?=
STACK ?=

PY := .venv/bin/python
UV := .venv/lock/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url --generate-hashes
FOUND = "$(PATTERN)" --runtime "$(RUNTIME)" $(if $(STACK),--name "$(STACK)")
START = $(FOUND) --port "$(PORT)" --bind "$(BIND)" $(if $(GRPC_PORT),--grpc-port "$(GRPC_PORT)") \
  $(if $(VARIANT),--variant "$(VARIANT)") $(if $(SCALE),--scale "$(SCALE)")

.PHONY: help up down demo logs status test drills screenshots lint bench models exporters images image docs lock clean
.DEFAULT_GOAL := help

help:  ## list these commands
	@echo 'make TARGET [PATTERN=web_single] [RUNTIME=auto|local|compose|kubernetes] [PORT=8000] [VARIANT=replicas]'; \
	  echo '  further: MODEL=mine, GRPC_PORT=8001, BIND=0.0.0.0 (listen beyond this machine), SCALE="recognition=2",'; \
	  echo '  STACK=second (a stack beside the one of the same pattern)'; echo
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  %-11s %s\n", $$1, $$2}'

up: .venv/.run  ## start PATTERN; the last line is its URL
	@$(PY) -m runtimes up $(START)

down: .venv/.run  ## stop PATTERN and remove its containers, processes and data
	@$(PY) -m runtimes down $(FOUND)

demo: .venv/.run  ## start PATTERN, send example requests and leave it running
	@$(PY) -m runtimes demo $(START)

logs: .venv/.run  ## print the logs of PATTERN; SERVICE=api for one service, FOLLOW=1 to follow
	@$(PY) -m runtimes logs $(FOUND) $(if $(SERVICE),--service "$(SERVICE)") $(if $(FOLLOW),--follow)

status: .venv/.run  ## show the services of PATTERN: state, URL, uptime and memory
	@$(PY) -m runtimes status $(FOUND)

# RUNTIME=auto: local, and compose if Docker is running
test: RUNTIMES = $(if $(filter auto,$(RUNTIME)),local $(shell docker info >/dev/null 2>&1 && echo compose),$(RUNTIME))
test: .venv/.dev  ## run the tests; PATTERN=x for one pattern, ARGS="-k name" for options of pytest
	@$(PY) -m pytest $(addprefix --runtime=,$(RUNTIMES)) $(if $(filter file,$(origin PATTERN)),,--pattern=$(PATTERN)) $(ARGS)

# the same runtimes; what they show is kept with its date
drills: RUNTIMES = $(if $(filter auto,$(RUNTIME)),local $(shell docker info >/dev/null 2>&1 && echo compose),$(RUNTIME))
drills: .venv/.dev  ## run the drills that wait for minutes; results in bench/results/drills.json
	@$(PY) -m pytest -p tests.drills.record --record=bench/results/drills.json $(addprefix --runtime=,$(RUNTIMES)) \
	  $(if $(filter file,$(origin PATTERN)),,--pattern=$(PATTERN)) -m minutes tests/drills $(ARGS)

screenshots: .venv/.dev  ## draw the patterns' pages into docs/screenshots/
	@UPDATE_SCREENSHOTS=1 $(PY) -m pytest -q tests/conformance/test_page.py -k complains $(ARGS)

lint: .venv/.dev  ## check style and types
	@$(PY) -m ruff check . && $(PY) -m ruff format --check --quiet . && $(PY) -m mypy .

bench: .venv/.dev  ## run the benchmark of PATTERN and print the results
	@$(PY) -m bench $(PATTERN) $(ARGS)

models: .venv/.run  ## build all models that are out of date, or MODELS="iris iris_rf"
	@$(PY) -m models $(or $(MODELS),--all)

exporters: .venv/.export  ## test the exporters with PyTorch and TensorFlow (installs 8.5 GB)
	@.venv/export/bin/python -m pytest tests/exporters tests/behaviour/synchronous/test_tfserving.py $(ARGS)

images: .venv/.run  ## build the container images of PATTERN and its variants
	@$(PY) -m runtimes images "$(PATTERN)"

image: .venv/.run  ## build an image that serves one model: MODEL=name or folder, TAG=name:tag
	@$(PY) -m runtimes image "$(or $(MODEL),$(error MODEL is not set: give a name in models/build, or a folder with model.onnx))" \
	  $(if $(TAG),--tag "$(TAG)")

PAGES = README.md docs/*.md k8s/README.md patterns/*/README.md
docs: .venv/.dev  ## update the generated tables and numbers in the documentation (needs kubectl)
	@$(PY) -m tools.settings_table $(PAGES) && $(PY) -m tools.numbers $(PAGES)
	@$(PY) -m tools.pods_table k8s/README.md

EXTRAS_prep := --extra api --extra pictures --extra telemetry
EXTRAS_model := --extra model --extra telemetry
lock: $(UV)  ## update requirements/*.txt from pyproject.toml; UPGRADE=1 for the newest versions; SIDE=prep or model alone
ifdef SIDE
	@$(COMPILE) $(if $(UPGRADE),--upgrade) $(EXTRAS_$(SIDE)) pyproject.toml -o requirements/$(SIDE).txt
else
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --extra dev pyproject.toml -o requirements/dev.txt
	@$(COMPILE) -c requirements/dev.txt --extra api --extra telemetry pyproject.toml -o requirements/api.txt
	@$(COMPILE) -c requirements/dev.txt --extra model --extra telemetry pyproject.toml -o requirements/model.txt
	@$(COMPILE) -c requirements/dev.txt --extra api --extra pictures --extra telemetry pyproject.toml -o requirements/prep.txt
	@$(COMPILE) -c requirements/dev.txt --extra model --extra pictures --extra telemetry pyproject.toml -o requirements/vision.txt
	@$(COMPILE) -c requirements/dev.txt --extra japanese pyproject.toml -o requirements/japanese.txt
	@$(COMPILE) -c requirements/dev.txt --extra estimator pyproject.toml -o requirements/estimator.txt
	@$(COMPILE) -c requirements/dev.txt --extra build pyproject.toml -o requirements/build.txt
	@$(COMPILE) -c requirements/dev.txt --extra model --extra pictures --extra build --extra run pyproject.toml -o requirements/run.txt
	@$(COMPILE) -c requirements/dev.txt --extra dev --extra export-torch --extra export-keras pyproject.toml -o requirements/export.txt
endif

clean:  ## stop local stacks and remove everything that was built or installed
	@for stack in .run/*/; do [ ! -d "$$stack" ] || $(MAKE) -s down RUNTIME=local PATTERN=web_single \
	  STACK="$$(basename "$$stack")"; done  # of any pattern: a local stack is found by its name
	@rm -rf .venv .run models/build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@for python in python3 python3.13 python3.12 python3.11; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  $$python -m venv .venv && exit 0; rm -rf .venv; exit 1; \
	done; echo 'error: Python 3.11 or later is needed (python3, python3.13, python3.12 or python3.11)' >&2; exit 1

# two stamp files for one environment, so that `make demo` does not install what only tests need
.venv/.run .venv/.dev: .venv/.%: requirements/%.txt | $(UV)
	@echo 'installing $< into .venv (once; half a minute)' >&2
	@$(UV) pip install --quiet --python $(PY) --require-hashes --requirement $<
	@touch $@

.venv/.export: requirements/export.txt | $(PY)
	@echo 'installing $< into .venv/export (once; several minutes, 8.5 GB)' >&2
	@$(PY) -m venv .venv/export && .venv/export/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(UV): | $(PY)
	@$(PY) -m venv .venv/lock && .venv/lock/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
