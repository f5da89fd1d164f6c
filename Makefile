# Every command of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENVS := build/venvs
DEV := $(VENVS)/dev/bin

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

# One environment for each requirements/<name>.txt, made again when its lock file changes.
.PRECIOUS: $(VENVS)/%/.installed
$(VENVS)/%/.installed: requirements/%.txt
	@python="$$(sh local/find_python.sh)"; \
	echo "installing $< into $(VENVS)/$*"; \
	rm -rf $(VENVS)/$*; \
	"$$python" -m venv $(VENVS)/$*; \
	$(VENVS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<; \
	touch $@
