# `make` alone prints the targets. Needed: Python 3.11 or newer, and make. Where there is no uv, one comes into .tools/.
PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN = "$(UV)" run --no-sync

CODE = apps contracts libs scripts services tests
STATIC_TESTS = contracts/tests tests/checks tests/test_budgets.py

# Without compiled files every process compiles all it imports again, which takes longer than most of them run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo dev test check bench fmt contracts pins upgrade

help: ## print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(filter .tools/bin/uv,$(UV)) ## install everything into .venv (the other targets do this by themselves)
	@"$(UV)" sync --quiet

demo: setup ## start everything, stream a year of real purchases through it, print what came out
	@$(RUN) kundenclub demo

dev: setup ## run the whole system on fixed local ports until Ctrl-C
	@$(RUN) kundenclub dev

test: check ## everything CI runs
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder $(STATIC_TESTS:%=--ignore=%)

check: setup ## what needs no server: format, lint, types, imports, contracts, budgets
	$(RUN) ruff check $(CODE)
	$(RUN) ruff format --check $(CODE)
	@$(MAKE) --no-print-directory -j 2 check-types check-rules

check-types:
	$(RUN) mypy $(CODE)
	$(RUN) lint-imports

check-rules:
	$(RUN) pytest $(STATIC_TESTS)

bench: setup ## measure speed and write docs/benchmarks.md (ARGS="--help" tells of the options)
	@$(RUN) python -m tests.benchmarks $(ARGS)

fmt: setup ## change files: format, and mend what the linter can
	$(RUN) ruff check --fix $(CODE)
	$(RUN) ruff format $(CODE)

contracts: setup ## write what is generated: contracts/openapi, contracts/asyncapi.yaml, the client's errors
	@PYTHONPATH=scripts $(RUN) python -m contract_files

pins: setup ## write exact versions of new dependencies into pyproject.toml, keep the others
	$(RUN) python scripts/pin.py --uv "$(UV)"

upgrade: setup ## write the newest version of every dependency into pyproject.toml
	$(RUN) python scripts/pin.py --uv "$(UV)" --upgrade

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.*'
