# The commands of the project. The work itself is in tools/, bench/, inst/scripts/ and .ci/.

.PHONY: help setup setup-rpy2 demo check test test-python test-r style figures packages site install clean distclean

# What `make demo` takes: DATA=path, SEED=0, K=number of clusters, EPOCHS=60, OUT=demo-output
DATA ?=
SEED ?= 0
K ?=
EPOCHS ?= 60
OUT ?= demo-output

help:
	@echo "make setup        installs all dependencies into .venv (Python) and .rlib (R)"
	@echo "make demo         analyzes simulated cells, or your own with DATA=path; options K=, SEED=, EPOCHS=, OUT="
	@echo "make check        runs the quick tests and style checks; use before each commit (2-3 minutes)"
	@echo "make test         all tests and style checks (also: test-python, test-r, style)"
	@echo "make packages     builds the release files in dist/: Python sdist and wheel, R source package"
	@echo "make site         site/index.html: both packages, their guides and the method (10 minutes)"
	@echo "make install      the R package into your own R library"
	@echo "make figures      the figures and tables of docs/benchmarks.md, from the CSV files in docs/"
	@echo "make setup-rpy2   rpy2, for R inside Python (engine=\"rpy2\"; compiles; optional)"
	@echo "make clean        removes build products and figures; distclean also removes .venv"

setup:
	@tools/setup.sh

setup-rpy2: setup
	@tools/setup.sh rpy2

demo: setup
	@tools/demo.sh "DATA=$(DATA)" "SEED=$(SEED)" "K=$(K)" "EPOCHS=$(EPOCHS)" "OUT=$(OUT)"

check: setup
	@tools/test.sh quick python r style

test: setup
	@tools/test.sh python r style

test-python: setup
	@tools/test.sh python

test-r: setup
	@tools/test.sh r

style: setup
	@tools/test.sh style

figures: setup
	@bash -c '. tools/common.sh && use_project && "$$SCMVP_PYTHON" bench/figures'

packages: setup
	@tools/packages.sh

site: setup
	@tools/site.sh

install:
	R CMD INSTALL .

clean:
	rm -rf .rlib demo-output dist site inst/python
	rm -f src/*.o src/*.so
	find python tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache .mypy_cache

distclean: clean
	rm -rf .venv
