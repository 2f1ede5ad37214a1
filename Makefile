# Everything here is a plain command or two; the README has them, too, for an environment of your own.
# PYTHON=python3.12 make lab   chooses another Python.

PYTHON ?= python3
READY := .venv/.ready

.PHONY: help lab status test test-exercises test-browser pictures test-all check stop clean fresh update store bench bench-traffic lint

help:            ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

lab: $(READY)    ## set up once, then open JupyterLab on the first lesson
	@.venv/bin/python -m jupyterlab notebooks --config=jupyter/lab_config.py

status: $(READY)  ## the lessons, what you have opened and passed, and which PostgreSQL is used
	@cd notebooks && ../.venv/bin/python -m lab status

test: $(READY)   ## set up once, then run the tests, every notebook among them
	@.venv/bin/python -m pytest --nbval -n 2

test-exercises: $(READY)  ## every answer to every exercise, right and wrong, on a real database (ONLY="05_phone": a part)
	@.venv/bin/python -m pytest tests/exercises/play.py -n 2 --dist=worksteal -q $(if $(ONLY),-k "$(ONLY)")

test-browser: $(READY)  ## the course as a learner sees it, in the system's Chromium (ONLY="typing or dark": a part)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/in_browser.txt
	@.venv/bin/python -m pytest tests/in_browser.py -q $(if $(ONLY),-k "$(ONLY)")

pictures: $(READY)  ## for authors: take the README's pictures of the lessons again
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/in_browser.txt
	@LAB_SCREENSHOTS=docs .venv/bin/python -m pytest tests/in_browser.py -q -k readme

test-all: $(READY)  ## every notebook on every server, in order, reversed, alone and in parallel
	@.venv/bin/python tests/everywhere.py

check: $(READY)  ## is this machine ready for the course?
	@cd notebooks && ../.venv/bin/python -m lab check

stop: $(READY)   ## stop the course's PostgreSQL; its data stays
	@cd notebooks && ../.venv/bin/python -m lab stop

clean: $(READY)  ## remove the copies, databases and server that the course made; asks first
	@cd notebooks && ../.venv/bin/python -m lab clean

fresh: $(READY)  ## LESSON=05: get a notebook back as it was shipped, and keep yours aside
	@cd notebooks && ../.venv/bin/python -m lab fresh "$(LESSON)"

update: $(READY)  ## fetch the newest version of the course, and keep your changed notebooks aside
	@cd notebooks && ../.venv/bin/python -m lab update

store: $(READY)  ## for authors: execute the notebooks (LESSON=05: one of them) and store their output
	@.venv/bin/python tests/store.py $(LESSON)

bench: $(READY)  ## for authors: what is promised of speed, measured side by side; takes two hours
	@.venv/bin/python tests/bench.py

bench-traffic: $(READY)  ## for authors: the figures of lesson 16, how long visitors wait by the size of the shop; a quarter of an hour
	@.venv/bin/python tests/bench_traffic.py

lint: $(READY)   ## for authors: ruff, notebooks included
	@.venv/bin/python -m ruff check . && .venv/bin/python -m ruff format --check .

$(READY): requirements.txt
	@command -v git >/dev/null || { echo "git is missing: install it (https://git-scm.com/downloads), then run make again."; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 to 3.14, then run make again, or name yours: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' || { echo "$(PYTHON) is older than 3.11: install a newer one and name it: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module: on Debian and Ubuntu run apt install python3-venv, then run make again."; exit 1; }
	@echo "Setting up the environment in .venv, once; this takes a minute or two."
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $(READY)
	@echo "Ready."
