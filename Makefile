# Two commands on a machine with Python 3.11+, pip and make: `make demo` and `make test`. Each does all it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
JOBS   ?= 2

# A ViT that 1,259 digits of 8 x 8 pixels can fill (docs/log.md); one thread, so that the result hangs on no core count.
DEMO   := model.options.depth=3 model.options.width=96 model.options.hidden=384 model.pooling=mean \
          'augment.crop_scale=[0.85,1]' augment.mixup=0 train.drop_path=0 threads=1

.PHONY: demo test lint types format lock clean help
.DELETE_ON_ERROR:

help:            ## show this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Vitrail needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making $(VENV) from requirements.lock: about two minutes and 6 GB, once."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: $(READY)   ## train a ViT on real handwritten digits, explain it, say where the report is
	@$(BIN)/vitrail train digits --model vit_tiny --epochs 60 --lr 2e-3 --name demo $(DEMO)

test: $(READY)   ## run every test that needs no GPU and no network
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

lint: $(READY)   ## check style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)  ## check types, strictly
	@$(BIN)/mypy

format: $(READY) ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock:            ## resolve the newest versions into requirements.lock
	@rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check '.[tensorboard,test,lint]' setuptools
	@$(VENV)-lock/bin/python tools/write_lock.py > requirements.lock
	@rm -rf $(VENV)-lock

clean:           ## remove the virtual environment and what builds left
	@rm -rf $(VENV) $(VENV)-lock build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
