# The commands for people and for CI. Each one first installs what it needs into .venv.
PYTHON ?= python3.11
HOST   ?= $(or $(METAGAIT_HOST),127.0.0.1)
PORT   ?= $(or $(METAGAIT_PORT),8000)
DATA   ?= $(or $(METAGAIT_DATA),./data)
WORKERS ?= 2
# The training whose attention and curves `make pictures` draws. Its other pictures are of the weights that ship.
RUN    ?= runs/walkers
REAL   := $(if $(CASIA_A),--casia-a $(CASIA_A))

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# What ruff checks.
LINTED := metagait.py gallery model service docker tests benchmarks

.PHONY: serve demo weights pictures samples bench test test-all conformance check clean

# Starts the service.
serve: $(VENV)/.serving
	$(BIN)/metagait serve --host $(HOST) --port $(PORT) --data $(DATA)

# Starts a service of its own, enrols synthetic people, recognises them, and turns strangers away.
demo: $(VENV)/.serving
	$(BIN)/python -m service.demo

# Makes the weights that ship again from nothing, in four hours or more: trains on easy walkers (`demo`), on varied ones
# (`varied`) and on both (`walkers`), fits the last layer, writes the int8 file, and prints the table of the model card.
# CASIA_A=FOLDER also measures on these real people. tests/test_make_weights.py runs the same lines in short.
weights: $(VENV)/.complete
	$(BIN)/metagait train model/configs/demo.yaml --resume
	$(BIN)/metagait train model/configs/varied.yaml --resume
	$(BIN)/metagait train model/configs/walkers.yaml --resume
	$(BIN)/metagait export runs/walkers/checkpoint.pt runs/walkers/network.onnx
	$(BIN)/metagait compact runs/walkers/network.onnx runs/walkers/metagait.onnx --kind discriminant --dimensions 256 --name metagait-walkers --calibrate $(REAL)
	$(BIN)/metagait quantise runs/walkers/metagait.onnx runs/walkers/metagait-int8.onnx --calibrate $(REAL)
	$(BIN)/metagait evaluate runs/walkers/metagait.onnx --open-set --markdown runs/walkers/table.md

# Makes the synthetic walkers that the web page offers.
samples: $(VENV)/.serving
	$(BIN)/python -m model.walkers.web_samples service/web/samples

# Draws the pictures in docs/pictures. Attention and curves come first, so that it fails at once when there is no training.
pictures: $(VENV)/.complete
	$(BIN)/metagait plot attention curves --model $(RUN)/checkpoint.pt --log $(RUN)/log.jsonl --output docs/pictures
	$(BIN)/metagait plot cmc det tsne --output docs/pictures

# Measures every engine and precision against eager torch: walks per second, and the loss of rank-1. It writes
# docs/encode.md and its picture, and takes about five minutes on a quiet machine.
bench: $(VENV)/.complete
	$(BIN)/python benchmarks/encode.py --evaluate 20

# Runs the tests in two processes that share the files; WORKERS=0 runs them one after another.
test: $(VENV)/.complete
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Also runs the tests marked `slow`.
test-all: $(VENV)/.complete
	$(BIN)/python -m pytest -m ""

# Lets schemathesis try everything in docs/openapi.json on a running service; about two minutes.
conformance: $(VENV)/.complete
	$(BIN)/python -m tests.conformance

# ruff and mypy --strict.
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

# Removes .venv and what tools have cached; data and runs stay.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
