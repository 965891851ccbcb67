# Everything runs in .venv, which the first command makes. Python 3.11 or later is all it needs.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 3
LIVE_MINUTES ?= 10
FILES ?= 200000

.PHONY: help demo test browser check bench soak fuzz clean

help:
	@echo "make demo    set up and see the main job done on real data"
	@echo "make test    set up and run all tests, notebooks included"
	@echo "make browser see notebooks run in JupyterLab, in Chromium; pictures go to build/screenshots"
	@echo "make check   format, lint, types, import directions"
	@echo "make bench   measure, as ratios to a reference in the same run"
	@echo "make soak    the longer tests, LIVE_MINUTES=10 of a busy view, MINUTES=3 of random kills"
	@echo "make fuzz    about ten minutes of damaged .ss files, FILES=200000 of them"

demo: .venv/.installed
	@$(BIN)/python -m seastream_nb.demo

test: .venv/.installed-dev .venv/.ipykernels
	$(BIN)/pytest -n auto
	$(BIN)/pytest -n auto --dist loadscope -p no:cacheprovider -o addopts= --nbval --nbval-current-env \
		--nbval-cell-timeout=120 --nbval-sanitize-with notebooks/sanitize.cfg notebooks

browser: .venv/.installed-browser
	@command -v chromium >/dev/null || \
		echo "There is no Chromium here, so its tests are skipped: apt-get install chromium"
	$(BIN)/pytest -m browser tests/browser

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed-dev
	$(BIN)/python -m tests.benchmarks

soak: .venv/.installed-dev
	LIVE_MINUTES=$(LIVE_MINUTES) $(BIN)/pytest -o faulthandler_timeout=0 -m soak tests
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

fuzz: .venv/.installed-dev
	$(BIN)/python -m tests.fuzz --files $(FILES)

clean:
	rm -rf .venv build dist *.egg-info .*_cache .hypothesis

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.python pyproject.toml
	@echo "Installing into .venv, which takes about a minute the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.installed-dev: .venv/.python pyproject.toml
	@echo "Installing into .venv, which takes a few minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/.installed

.venv/.ipykernels: .venv/.installed-dev tests/ipykernels.py
	$(BIN)/python -m tests.ipykernels
	@touch $@

.venv/.installed-browser: .venv/.installed-dev
	@echo "Installing JupyterLab into .venv"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,browser]'
	@touch $@
