# `make results` and `make test` work from nothing but Python 3.11, pip, make and a C++ compiler.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= all
BIN := .venv/bin
# Torch's threads are set per study in the config; other libraries get one each, so that results do not depend on the cores.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
SNAKEMAKE = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --cores $(CORES)

# The file that `make verify` checks: `make verify ARCHIVE=path`.
ARCHIVE ?= results/armed-bench-archive.zip
# The run that `make reproduce` repeats: results/runs/STUDY/MODEL, or STUDY/MODEL.
RUN ?=

.PHONY: results report smoke paper archive verify reproduce benchmark benchmark-images reliability docs test lint setup clean

results: setup  ## the default run: all studies, tables, figures, report
	@$(SNAKEMAKE) --keep-going
	@echo "Report: $(CURDIR)/results/report.html"

report: setup  ## tables, figures and report from the fits that are there, absent ones listed
	@$(SNAKEMAKE) --keep-going --configfile config/available.yaml
	@echo "Report: $(CURDIR)/results/report.html"

smoke: setup  ## two studies, three models, two seeds, two folds, in smoke/
	@$(SNAKEMAKE) --directory smoke --configfile config/smoke.yaml
	@echo "Report: $(CURDIR)/smoke/results/report.html"

paper: setup  ## the paper's full scale, in paper/
	@$(SNAKEMAKE) --keep-going --directory paper --configfile config/paper.yaml
	@echo "Report: $(CURDIR)/paper/results/report.html"

archive: setup  ## one file for deposit, without restricted data: results/armed-bench-archive.zip
	@$(SNAKEMAKE) archive
	@echo "Archive: $(CURDIR)/results/armed-bench-archive.zip"

verify: setup  ## computes the tables of an archive again from what is in it: make verify ARCHIVE=path
	$(BIN)/python -m armed.verify "$(ARCHIVE)"

reproduce: setup  ## repeats one stored run and compares: make reproduce RUN=results/runs/STUDY/MODEL
	@$(BIN)/python -m armed.reproduce "$(RUN)"

benchmark: setup  ## speed against plain loops and peers: results/benchmark.tsv and figures; the machine should be idle
	$(BIN)/python -m benchmarks --output results

benchmark-images: setup  ## images per second in training, both image studies, default and paper size: results/benchmark_images_STUDY.tsv; likewise
	$(BIN)/python -m benchmarks.images --output results

reliability: setup  ## kills, faults, hostile input, scale, repetition, Slurm: results/reliability and docs/reliability.md; some hours
	$(BIN)/python -m benchmarks.reliability

docs: setup  ## the documents as a site, in docs/_build; a warning fails
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html -c docs . docs/_build
	@echo "Site: $(CURDIR)/docs/_build/index.html"

test: setup lint
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n auto --dist loadgroup

lint: setup
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check workflow/Snakefile workflow/rules/*.smk
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --lint
	$(BIN)/hadolint Dockerfile

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[workflow,slurm,dev,browser,docs]"
	touch $@

clean:  ## results only; the environment stays
	rm -rf results/* smoke paper .snakemake
	git checkout -- results/README.md
