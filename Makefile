# make train   set up and train on the built-in digits
# make test    set up and run the tests that every change must pass: all but the slow ones
# make test-all  these and the slow ones, before something is called done
# make check   ruff, the type checker, the layer test
# make bench   the benchmarks on real data (STRIATE_DATA, default ../shared/data): about 40 minutes
# make chaos   thousands of damaged files, kills, signals, full disks: nothing is lost (an hour)
# make studio  build the page of the studio from web/ (needs Node; the built page is committed)
# make site    the documentation as pages in site/ (links are checked)
# make dist    wheel, source archive and bill of materials in dist/; licences are checked
# make lock    write requirements.lock (and that of the Dockerfile) anew from pyproject.toml (needs uv)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test test-all check bench chaos lock setup clean studio site dist

train: setup
	$(BIN)/striate train

PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: setup
	$(PYTEST) -m "not slow"

test-all: setup
	$(PYTEST)

check: setup
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

bench: setup
	$(BIN)/python benchmarks/textbook.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/doctor.py
	$(BIN)/python benchmarks/doctor.py remedies

studio: setup
	$(BIN)/python -m striate.studio.typescript web/src/messages.ts
	cd web && npm ci --no-fund --no-audit && npm run build

site: setup
	$(BIN)/python -m striate.core.recipe_text > docs/knobs.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

dist: setup
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m tools.licences --sbom dist/striate.cdx.json > dist/licences.md

chaos: setup
	$(BIN)/python benchmarks/chaos.py
	$(BIN)/python benchmarks/chaos_training.py

setup: $(READY)

# Every package is installed from the lock by its hash, by uv in a quarter of pip's time, or by pip
# where uv cannot; ours is built with the locked hatchling.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
$(READY): requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Striate needs Python 3.11 or newer; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	{ $(PIP_INSTALL) --require-hashes -r requirements-uv.lock \
		&& $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; } \
		|| { echo "uv could not install the packages: pip does it" && $(PIP_INSTALL) --require-hashes -r requirements.lock; }
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet

lock:
	echo uv | $(LOCK) - -o requirements-uv.lock
	$(LOCK) pyproject.toml --all-extras -o requirements.lock
	$(LOCK) pyproject.toml --extra serve --extra export --extra pretrained -c requirements.lock \
		-o requirements-serve.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
