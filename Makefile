# Every target is a verb of packaging/bootstrap.py, which also works where there is no make.
PYTHON ?= python3
BOOTSTRAP = @$(PYTHON) packaging/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-slow bench othello torture lint

help:  ## say what there is
	$(BOOTSTRAP) help

# make exports ONLY to the benchmark: make bench ONLY=canvas,trace
setup demo run test test-slow bench othello torture lint:
	$(BOOTSTRAP) $@
