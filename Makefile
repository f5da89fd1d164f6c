# Every command of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTEST_ARGS ?=
ONLY ?=
DOCS ?=
TEST_PROCESSES ?=
LOCAL_NAME ?= local
export LOCALSTACK_PORT EMULATOR_PORT LOCAL_NAME

VENVS := build/venvs
PYTHON := $(VENVS)/dev/bin/python
UV := $(VENVS)/uv/.installed
UV_PYTHON := $(VENVS)/uv/bin/python
DEV := $(VENVS)/dev/.installed
SCAN := $(VENVS)/policy-scan/.installed
LOCAL := $(DEV) $(VENVS)/lambda-runtime/.installed $(VENVS)/localstack/.installed

# One after the other, whatever -j says: each keeps every core busy by itself.
.NOTPARALLEL:

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

# A variable is passed on when it was given, empty or not, and through the environment, for it may hold any character.
# The commands have the defaults, and refuse what is empty.
given = $(if $(filter-out undefined,$(origin $1)),--$2 "$$$1")
ENVIRONMENT = $(call given,LABELLED,labelled) $(call given,BACKEND,backend) $(call given,LOCALSTACK,localstack) \
	$(call given,TFVARS,tfvars) $(call given,IMAGES_BUCKET,images-bucket) $(call given,VERSIONED,versioned) \
	$(call given,CONVERT,convert)

.PHONY: local-run
local-run: $(LOCAL) ## analyze IMAGES=dir, VIDEOS=dir or both on this machine, results to OUT=dir [LABELLED=dir] [BACKEND=name] [IMAGES_BUCKET=name VERSIONED=0|1] [CONVERT=0|1] [TFVARS=file] [LOCALSTACK=docker]
	@$(PYTHON) -m local run $(call given,IMAGES,images) $(call given,VIDEOS,videos) $(call given,OUT,out) $(ENVIRONMENT)

.PHONY: local-up
local-up: $(LOCAL) ## start the same environment and leave it running [VIDEOS=1|only] [LABELLED=dir] [BACKEND=name] [IMAGES_BUCKET=name VERSIONED=0|1] [CONVERT=0|1] [TFVARS=file] [LOCALSTACK=docker]
	@$(PYTHON) -m local up $(call given,VIDEOS,videos) $(ENVIRONMENT)

.PHONY: local-down
local-down: $(DEV) ## stop what local-up started
	@$(PYTHON) -m local down

# End-to-end tests mostly wait, so there may be more of them at once than cores.
pytest = $(PYTHON) -m pytest --numprocesses $(or $(TEST_PROCESSES),$1) --dist loadscope --no-loadscope-reorder --durations 10

# The checks beside the tests: the end-to-end ones leave a core free now and then.
.PHONY: local-test
local-test: $(LOCAL) $(SCAN) ## all checks, and all tests but those of fault-test, in a quarter of an hour [PYTEST_ARGS=...]
	@mkdir -p build; \
	make check > build/check.log 2>&1 & check=$$!; \
	trap 'kill $$check 2>/dev/null || true' EXIT; \
	status=0; $(call pytest,3) -m "not matrix" $(PYTEST_ARGS) || status=$$?; \
	wait $$check || status=$$?; \
	cat build/check.log; exit $$status

.PHONY: fault-test
fault-test: $(LOCAL) $(SCAN) ## the longest tests: the rest of the fault matrix, existing buckets, videos, permissions, a short soak; in half an hour [PYTEST_ARGS=...]
	@$(call pytest,5) -m matrix $$(grep -rl --include='test_*.py' 'mark\.matrix' tests) $(PYTEST_ARGS)

.PHONY: soak
soak: $(LOCAL) ## many images over scheduled runs with all faults at once, up to 30 minutes [IMAGES=2000] [SEED=number]; or SHAPE=existing: many changes of an existing bucket [CHANGES=5000] [KEYS=1000] [BACKFILL=images] [VERSIONED=0|1]
	@$(PYTHON) -m tests.local.soak$(if $(filter existing,$(SHAPE)),_existing $(call given,CHANGES,changes) $(call given,KEYS,keys) $(call given,BACKFILL,backfill) $(call given,VERSIONED,versioned), $(call given,IMAGES,images)) $(if $(SEED),--seed "$(SEED)")

# The stack that STACK=name or OUTPUTS=file names; without either, the local one.
# A name that is given and empty is given: the tool refuses it.
OPERATE = $(if $(filter-out undefined,$(foreach name,STACK OUTPUTS BATCH_VISION_STACK BATCH_VISION_OUTPUTS,$(origin $(name)))),,if [ -f build/$(LOCAL_NAME)/env ]; then source build/$(LOCAL_NAME)/env; fi;) \
	$(PYTHON) -m batch_vision
CHOSEN = $(call given,STACK,stack) $(call given,OUTPUTS,outputs)

.PHONY: status
status: $(DEV) ## how a stack is, and what is wrong [STACK=name or OUTPUTS=file]
	@$(OPERATE) status $(CHOSEN)

.PHONY: redrive
redrive: $(DEV) ## batch-vision retry: put dead letters and stuck images of a stack back on its queue [STACK=name or OUTPUTS=file]
	@$(OPERATE) retry $(CHOSEN)

.PHONY: package
package: $(DEV) ## make build/lambdas.zip, the deployment package of all functions, and build/lambdas-converting.zip, that of those which convert images
	@$(PYTHON) -m local.package

.PHONY: bench
bench: $(LOCAL) $(VENVS)/bench/.installed ## measure speed and cost, figures to build/bench/ [ONLY=part,part] [DOCS=1 puts them into docs/cost.md]
	@POWERTOOLS_METRICS_NAMESPACE=BatchVision $(PYTHON) -m benchmarks --only "$(ONLY)" $(if $(DOCS),--docs)

.PHONY: check
check: $(DEV) $(SCAN) ## format, lint, types, terraform fmt, validate and test, policy scan
	@$(VENVS)/dev/bin/ruff format --check --quiet .
	@$(VENVS)/dev/bin/ruff check --quiet .
	@$(VENVS)/dev/bin/mypy --no-error-summary
	@found=$$($(VENVS)/dev/bin/lint-imports --no-cache --no-logo 2>&1) || { echo "$$found"; exit 1; }
	@echo "python: format, lint, types and the direction of imports are good"
# The scan beside Terraform's tests: each keeps one core busy for a while.
	@mkdir -p build; \
	$(VENVS)/policy-scan/bin/checkov --config-file .checkov.yaml > build/policy-scan.log 2>&1 & scan=$$!; \
	trap "kill $$scan 2>/dev/null || true" EXIT; \
	$(PYTHON) -m local check-terraform; \
	wait $$scan || { cat build/policy-scan.log; exit 1; }; \
	cat build/policy-scan.log; \
	! grep "Parsing errors" build/policy-scan.log || { echo "A file was not scanned: see which with LOG_LEVEL=DEBUG."; exit 1; }

.PHONY: format
format: $(DEV) ## format Python and Terraform
	@$(VENVS)/dev/bin/ruff format --quiet .
	@$(VENVS)/dev/bin/ruff check --quiet --fix .
	@terraform fmt -recursive terraform local/terraform examples

.PHONY: lock
lock: $(UV) ## resolve requirements/*.in again into hashed lock files
	@$(UV_PYTHON) -m local.install lock

.PHONY: clean
clean: local-down ## stop everything and remove build/
	@rm -rf build

# One environment for each requirements/<name>.txt, made again when its lock file changes: uv's by pip, the rest by uv.
.PRECIOUS: $(VENVS)/%/.installed
$(VENVS)/%/.installed: requirements/%.txt $(UV)
	@echo "installing $< into $(VENVS)/$*"
	@$(UV_PYTHON) -m local.install $<
	@touch $@

$(UV): requirements/uv.txt
	@python="$$(sh local/find_python.sh)"; \
	echo "installing $< into $(VENVS)/uv"; \
	rm -rf $(VENVS)/uv && \
	"$$python" -m venv $(VENVS)/uv && \
	$(UV_PYTHON) -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r $< && \
	touch $@
