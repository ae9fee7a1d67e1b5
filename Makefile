# One command each: `make demo`, `make test`, `make lint`, `make docs`, `make benchmark`. Each sets up .venv by itself.
PYTHON ?= python3
JOBS ?= auto
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCHMARK := .venv-benchmark
BOOSTFORMER := $(BIN)/boostformer
DEMO := runs/demo

# A scene that no training has seen, as a file for the prediction.
define SCENE
import sys
from pathlib import Path
from boostformer.data import open_split
from PIL import Image
from search.config.run_file import read_run_file
data = read_run_file(Path("configs/demo.yaml")).config.data
Image.fromarray(open_split(data, "validation").image(0)).save(sys.argv[1])
endef
export SCENE

# albumentations would ask the network for a newer release of itself at every import.
export NO_ALBUMENTATIONS_UPDATE := 1
# Containers often forbid Python to keep what it has compiled; then every process here would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test pytest lint format docs benchmark race fuzz coverage sbom clean

help:
	@echo "make demo       search the tiny space on generated scenes, retrain, evaluate, export, predict"
	@echo "make test       ruff, mypy and all tests (JOBS=N processes)"
	@echo "make lint       ruff and mypy alone; make pytest the tests alone; make format lets ruff rewrite the files"
	@echo "make docs       the documentation site, into build/site"
	@echo "make fuzz       10,000 hostile contents for each reader of files (resumable); make sbom: what is installed, as CycloneDX"
	@echo "make coverage   branch coverage of the quick tests, in build/coverage (one process)"
	@echo "make race       search strategies beside Optuna's, NNI's and archai's, on tables (hours, resumable)"
	@echo "make benchmark  costs per second beside fvcore, thop and NNI; speed of networks beside transformers'"

install: $(STAMP)

# Python compiles what it imports at its first import; most of what is installed never is, and compiling it all takes longer
# than everything else.
$(STAMP): setup.cfg pyproject.toml constraints.txt constraints-nni.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --requirement constraints-nni.txt
	touch $@

# Search, choose, retrain, evaluate, export, predict: the whole way, on generated scenes, in a few minutes.
demo: $(STAMP)
	$(BOOSTFORMER) search configs/demo.yaml --out $(DEMO)
	$(BOOSTFORMER) pareto $(DEMO) --plot $(DEMO)/front.png
	rm -rf $(DEMO)/knee
	$(BOOSTFORMER) retrain $(DEMO) --pick knee --out $(DEMO)/knee
	$(BOOSTFORMER) evaluate $(DEMO)/knee
	$(BOOSTFORMER) report $(DEMO)
	$(BOOSTFORMER) export $(DEMO)/knee --format onnx --out $(DEMO)/knee.onnx
	$(BIN)/python -c "$$SCENE" $(DEMO)/scene.png
	$(BOOSTFORMER) predict $(DEMO)/knee $(DEMO)/scene.png --out $(DEMO)/prediction

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Both at once: tests wait for one another now and then.
test: $(STAMP)
	$(MAKE) --jobs=2 lint pytest

pytest: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS)

# The peers get an environment of their own: there are many, and no user needs them.
$(BENCHMARK)/.installed: setup.cfg pyproject.toml constraints.txt constraints-nni.txt
	test -x $(BENCHMARK)/bin/python || $(PYTHON) -m venv $(BENCHMARK)
	$(BENCHMARK)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[benchmark]'
	$(BENCHMARK)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --no-deps --requirement constraints-nni.txt archai
	touch $@

benchmark: $(BENCHMARK)/.installed
	$(BENCHMARK)/bin/python benchmarks/cost.py
	$(BENCHMARK)/bin/python benchmarks/inference.py
	$(BENCHMARK)/bin/python benchmarks/latency_estimate.py

# Hours: says first how many, and goes on where it was stopped.
race: $(BENCHMARK)/.installed
	$(BENCHMARK)/bin/python benchmarks/race.py --out docs/results/race

# Goes on where it was stopped; what breaks the rule lies in build/fuzz. READERS="'run file' space" for some alone.
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz_run.py --cases 10000 --out build/fuzz $(READERS)

# The tool lies beside the environment: it must see our modules, and nobody else needs it.
coverage: $(STAMP)
	test -d build/coverage/tool || $(BIN)/python -m pip install --quiet --target build/coverage/tool coverage
	PYTHONPATH=build/coverage/tool COVERAGE_FILE=build/coverage/data $(BIN)/python -m coverage run --branch \
		--source=boostformer,search_space,evaluators,results,search -m pytest -q -m "not slow"
	PYTHONPATH=build/coverage/tool COVERAGE_FILE=build/coverage/data $(BIN)/python -m coverage report | tee build/coverage/report.txt

# The tool has an environment of its own, so that it is not in its own list.
sbom: $(STAMP)
	test -x .venv-tools/bin/cyclonedx-py || ($(PYTHON) -m venv .venv-tools && .venv-tools/bin/python -m pip install --quiet cyclonedx-bom)
	mkdir -p build
	.venv-tools/bin/cyclonedx-py environment $(BIN)/python --output-reproducible --of JSON -o build/sbom.json

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis runs/demo
