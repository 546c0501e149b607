# The two commands of a newcomer are `make demo` and `make test`; `make check` is what CI adds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# A claim or two of each family, which together take about two minutes.
DEMO := sinkhorn-newton-sparse linf-regression log-proximity presto repeated-sampling \
	generalization-difficulty lion-k global-magnitude-pruning/the-floor-keeps-accuracy \
	deis/nearer-at-10

# Also for pip's isolated build environments, which -c does not reach.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
# mkdocs-material announces its successor at every build.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo test check bench docs readme guide constraints clean

help:
	@echo "make demo    check some claims of each family (quick tier) and write report.html"
	@echo "make test    run the whole test suite"
	@echo "make check   lint, types, import rules, doctests, documentation"
	@echo "make bench   time ours beside the peers; tables go to benchmarks/results"
	@echo "make docs    serve the documentation on this machine"
	@echo "make guide   measure what is not yet in the compression guide's tables, and write them"
	@echo "make readme  run the quick tier again; write the README's table and docs/verdicts.md"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	@touch $@

$(VENV)/dev.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/demo.installed

demo: $(VENV)/demo.installed
	$(BIN)/paperworks check $(DEMO) --report report.html

test: $(VENV)/dev.installed
	$(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --doctest-modules src/paperworks -q
	$(BIN)/python tools/readme.py --check
	$(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

bench: $(VENV)/dev.installed
	mkdir -p benchmarks/results
	$(BIN)/python -m pytest benchmarks -o python_files='bench_*.py' -o timeout=0 -q \
		--benchmark-columns=median,rounds --benchmark-json=benchmarks/results/latest.json
	$(BIN)/python benchmarks/table.py benchmarks/results/latest.json

docs: $(VENV)/dev.installed
	$(BIN)/mkdocs serve

guide: $(VENV)/dev.installed
	$(BIN)/python tools/compress_guide.py

readme: $(VENV)/dev.installed
	$(BIN)/paperworks check --all --tier quick
	$(BIN)/python tools/readme.py

constraints: $(VENV)/dev.installed
	$(BIN)/python tools/constraints.py

clean:
	rm -rf $(VENV) site report.html benchmarks/results
