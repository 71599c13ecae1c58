# One command each, the same for people and for CI. Everything is installed into .venv.
PYTHON ?= python3.11
HOST   ?= $(or $(METAGAIT_HOST),127.0.0.1)
PORT   ?= $(or $(METAGAIT_PORT),8000)
DATA   ?= $(or $(METAGAIT_DATA),./data)
WORKERS ?= 2
# The training whose attention and curves `make pictures` draws first, so that it says at once when there is none;
# the rest is of the weights that ship.
RUN    ?= runs/walkers
REAL   := $(if $(CASIA_A),--casia-a $(CASIA_A))

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# The packages of this repository that the command line and the tests read.
LINTED := metagait.py gallery model service docker tests benchmarks

.PHONY: serve demo weights pictures samples bench test test-all conformance check clean

serve: $(VENV)/.serving
	$(BIN)/metagait serve --host $(HOST) --port $(PORT) --data $(DATA)

demo: $(VENV)/.serving
	$(BIN)/python -m service.demo

# The weights that ship, from nothing, in four hours or more: `demo` on easy walkers, `varied` on varied ones, then both
# kinds; the last layer; the int8 file; the table of the card. CASIA_A=FOLDER measures on these people as well.
# tests/test_make_weights.py runs these very lines with few iterations and few people.
weights: $(VENV)/.complete
	$(BIN)/metagait train model/configs/demo.yaml --resume
	$(BIN)/metagait train model/configs/varied.yaml --resume
	$(BIN)/metagait train model/configs/walkers.yaml --resume
	$(BIN)/metagait export runs/walkers/checkpoint.pt runs/walkers/network.onnx
	$(BIN)/metagait compact runs/walkers/network.onnx runs/walkers/metagait.onnx --kind discriminant --dimensions 256 --name metagait-walkers --calibrate $(REAL)
	$(BIN)/metagait quantise runs/walkers/metagait.onnx runs/walkers/metagait-int8.onnx --calibrate $(REAL)
	$(BIN)/metagait evaluate runs/walkers/metagait.onnx --open-set --markdown runs/walkers/table.md

# The walkers that the web page offers to try.
samples: $(VENV)/.serving
	$(BIN)/python -m model.walkers.web_samples service/web/samples

pictures: $(VENV)/.complete
	$(BIN)/metagait plot attention curves --model $(RUN)/checkpoint.pt --log $(RUN)/log.jsonl --output docs/pictures
	$(BIN)/metagait plot cmc det tsne --output docs/pictures

# Walks a second of every engine and precision beside eager torch, and what rank-1 each costs, in about
# five minutes on a quiet machine: docs/encode.md and its picture.
bench: $(VENV)/.complete
	$(BIN)/python benchmarks/encode.py --evaluate 20

# Two processes share the files of the tests; WORKERS=0 runs them one after another.
test: $(VENV)/.complete
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# With the slow ones: every size and width of the paper through the exporter.
test-all: $(VENV)/.complete
	$(BIN)/python -m pytest -m ""

# schemathesis over a running service, every check, with a key; about two minutes.
conformance: $(VENV)/.complete
	$(BIN)/python -m tests.conformance

check: $(VENV)/.complete
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serving: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[cpu]'
	touch $@

$(VENV)/.complete: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[cpu,openvino,postgres,milvus,train,dev]'
	touch $@ $(VENV)/.serving

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
