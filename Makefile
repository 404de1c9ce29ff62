# Two commands do everything: `make run` (the study on the embedded model) and `make test`.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= results
PHASES ?= phase0 phase1 phase2 phase3
JOBS   ?= 2
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CRAFT  := $(VENV)/.audiocraft
# one numeric thread a process: two threads on two busy cores are slower than one
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

SEED ?= 0

CONTROL_SEEDS   ?= 0-4
CONTROL_PHASES  ?=
CONTROL_MINUTES ?= 38

.PHONY: run bench controls findings test check env export current notebooks pytest faults kills types site docs headline nano clean interop interop-env
run: env
	$(BIN)/musicgen-emotion run $(PHASES) -f params/nano.yaml --out $(OUT) --jobs $(JOBS)

# the studies under every control that their evidence must fail, small; the same call goes on where the time was up
controls: env
	$(BIN)/musicgen-emotion controls $(CONTROL_PHASES) -f params/controls.yaml --seeds $(CONTROL_SEEDS) --minutes $(CONTROL_MINUTES) --out $(OUT)/controls --jobs $(JOBS)

# methods where the truth is known; the same call goes on where it was stopped
bench: env
	$(BIN)/musicgen-emotion bench --out $(OUT)/bench

test: env check notebooks pytest

env: $(STAMP) $(CRAFT)
$(STAMP): settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,test,all]'
	touch $(STAMP)

# the second backend; without it everything but backend='audiocraft' works, and the next `make` tries again
$(CRAFT): $(STAMP) requirements-audiocraft.txt
	@{ $(BIN)/python -m pip install -q -c constraints.txt -r requirements-audiocraft.txt && $(BIN)/python -m pip install -q --no-deps audiocraft==1.3.0 && touch $@; } || \
	  echo "audiocraft could not be installed: its backend is left out, everything else works (musicgen-emotion doctor prints the commands)"

# modules, folders' __init__, import contracts and README from the notebooks, then ruff's format
export: env
	$(BIN)/python .ci/export.py

# format, lint, order of imports, and that everything generated is current
check: env
	$(BIN)/ruff format -q --check .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/generated.py

# types of the folders that other code builds on; pyrightconfig.json lists them
types: env
	$(BIN)/pyright --pythonpath $(BIN)/python

notebooks: env
	$(BIN)/nbdev_test --path nbs/api --n_workers 2 --do_print $$(test -f $(CRAFT) || echo "--skip_file_re ^([_.]|.*audiocraft)")
	$(BIN)/nbdev_test --path nbs/learn --n_workers 2
	$(BIN)/nbdev_test --path nbs --skip_folder_re . --n_workers 2

pytest: env
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests

# valid and hostile input for all public functions, and the tests of each kind of fault (under five minutes)
faults: env
	$(BIN)/python -m pytest -q -n 2 tests/faults tests/unit/test_faults_*.py

# 20 kills at random moments, each followed by going on and a comparison of all bytes (about five minutes)
kills: env
	$(BIN)/python -W ignore tests/faults/kill_and_resume.py

# other libraries' dictionaries against ours, in an environment of its own (three minutes, 2 GB); `make test` does not need it
INTEROP ?= .venv-interop
interop: interop-env
	HF_HUB_OFFLINE=1 $(INTEROP)/bin/python -m pytest -q -rs tests/interop
interop-env: $(INTEROP)/.installed
$(INTEROP)/.installed: requirements-interop.txt settings.ini setup.py
	test -x $(INTEROP)/bin/python || $(PYTHON) -m venv $(INTEROP)
	echo '*' > $(INTEROP)/.gitignore
	$(INTEROP)/bin/python -m pip install -q -c constraints.txt torch
	$(INTEROP)/bin/python -m pip install -q --no-deps -r requirements-interop.txt
	$(INTEROP)/bin/python -m pip install -q --no-deps -e .
	touch $@

# the site: Quarto where it is installed, otherwise a preview with a link check
docs: env
	$(BIN)/nbdev_docs
site: env findings
	$(BIN)/python -c 'from nbdev.quarto import refresh_quarto_yml; from nbdev.serve import proc_nbs; refresh_quarto_yml(); proc_nbs(n_workers=0, force=True)'
	$(BIN)/python .ci/links.py _proc
	$(BIN)/smalldocs render _proc
	@echo "open _proc/_docs/index.html"

# findings pages from evidence/ (`musicgen-emotion publish RUN` fills it); a phase without evidence keeps its stored page
findings: env
	$(BIN)/python .ci/findings.py

# the numbers of the front page, from the last run of Phase 0 below $(OUT); then run nbs/index.ipynb and `make export`
headline: env
	$(BIN)/python -c 'from musicgen_emotion.studies import write_headline; write_headline("$(OUT)/phase0_foundation", "nbs/findings/headline.json")'

# the same as the last line of `make check`: exported modules, README, clean notebooks
current: env
	$(BIN)/python .ci/generated.py

# train an embedded model from nothing (hours on two cores; resumes where it stopped); SEED=1 trains a second decoder
nano: env
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[nano]'
	SEED=$(SEED) $(BIN)/python -m musicgen_emotion.nano.recipe results/nano_training

clean:
	rm -rf _proc _docs build dist *.egg-info
