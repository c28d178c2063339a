# `make run` shows the whole loop, `make test` runs the tests. CONTRIBUTING.md tells the rest.
PYTHON ?= python3
PORT ?= $(or $(GARMENTS_PORT),5001)
SECONDS ?= 600
SEEDS ?= 0 1 2
BACKEND ?= tensorflow
# Tests that run at once, each file of them in one process.
JOBS ?= 2
TEACHERS := Data/teachers
VENV := .venv
PEERS := mlserver litserve bentoml
BIN := $(VENV)/bin
URL := http://127.0.0.1:$(PORT)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: cluster bench-scale run serve train train-quick torch images test test-long torture bench bench-memory bench-http bench-peers bench-servers bench-breakdown figures results lint check lock clean fuzz bench-decoding train-photos bench-photos bench-overload bench-restarts .photos

run: $(VENV)/.serving
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null \
		|| { echo 'port $(PORT) is taken, or is no port: choose another with make $@ PORT=…'; exit 2; }; \
	GARMENTS_REQUEST_LOG=0 $(BIN)/python app.py --port $(PORT) & service=$$!; \
	trap 'kill $$service 2>/dev/null; wait $$service 2>/dev/null' EXIT; \
	trap 'exit 130' INT; trap 'exit 143' TERM; \
	$(BIN)/python batch_request.py images --output predictions.csv --url $(URL); code=$$?; \
	kill -0 $$service || exit 3; \
	[ $$code -le 1 ] || exit $$code; \
	echo; head -6 predictions.csv | cut -d , -f 1-6 | tr , '\t' | expand -t 26,38,52,64,74; \
	echo '…'; echo; $(BIN)/python model_accuracy.py predictions.csv && \
	echo 'The night is told in report.html. README.md says how to sort photos of your own.'

serve: $(VENV)/.serving
	$(BIN)/python app.py --port $(PORT)

# Three large teachers, then the network that learns their answers: what is served. Most of a day
# without an accelerator.
train: $(VENV)/.everything
	for seed in 0 1 2; do [ -e $(TEACHERS)/large-$$seed/card.json ] || \
		GARMENTS_MODEL_DIR=$(TEACHERS) $(BIN)/python train_model.py \
		--architecture residual-large --name large-$$seed --seed $$seed --backend $(BACKEND) || exit; done
	$(BIN)/python train_model.py --architecture residual-fine --epochs 190 --seeds $(SEEDS) \
		--backend $(BACKEND) \
		--teachers $(foreach seed,0 1 2,$(TEACHERS)/large-$(seed))

# With --photos; PHOTOS names folders as docs/training.md tells.
train-photos: .photos torch
	$(BIN)/python train_model.py --photos $(PHOTOS) --backend torch

.photos:
	@$(if $(PHOTOS),:,echo "name the folders: make train-photos PHOTOS='DIR Data/shoes'"; exit 2)

train-quick: $(VENV)/.everything
	$(BIN)/python train_model.py --quick --name quick

# For --backend torch. A pin that pip need not look up further keeps CPU builds that are there.
torch: $(VENV)/.everything
	$(PIP) torch==2.13.0
	$(PIP) --no-deps efficientnet_lite_pytorch==0.1.0

# For `batch_request.py --engine ray`, and an object store for its tests.
cluster: $(VENV)/.everything .venv-peers/s3/.made
	$(PIP) -r requirements-cluster.txt

.venv-peers/s3/.made: tests/requirements-s3.txt
	$(PYTHON) -m venv .venv-peers/s3
	.venv-peers/s3/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

images: $(VENV)/.serving
	$(BIN)/python generate_image.py

test: $(VENV)/.everything
	$(BIN)/python -m pytest -m 'not long' -n $(JOBS) --dist loadfile

test-long: $(VENV)/.everything
	$(BIN)/python -m pytest -m long -n $(JOBS) --dist loadfile

# Lets nights fail, thousands of times: hours. As root, their disk can be full too.
torture: $(VENV)/.everything
	$(BIN)/python -m tests.torture

# Needs a Python that Atheris has wheels for: 3.11 to 3.13 on Linux.
fuzz: $(VENV)/.everything
	$(PIP) atheris==3.0.0
	$(BIN)/python -m tests.fuzz picture .fuzz/picture -max_total_time=$(SECONDS) -artifact_prefix=.fuzz/picture-
	$(BIN)/python -m tests.fuzz request .fuzz/request -max_total_time=$(SECONDS) -artifact_prefix=.fuzz/request-

figures: $(VENV)/.everything
	$(BIN)/python -m pytest -q -s -m figures

# An idle machine, please; the second takes a million files' room in the temporary folder.
bench: $(VENV)/.everything
	$(BIN)/python -m benchmarks.night

bench-memory: $(VENV)/.everything
	$(BIN)/python -m benchmarks.memory

# Needs make cluster. A hundred thousand files and a quarter of an hour.
bench-scale: cluster
	$(BIN)/python -m benchmarks.scale

bench-photos: $(VENV)/.everything
	$(BIN)/python -m benchmarks.photos $(if $(PHOTOS),"$(PHOTOS)")

# How fast the service answers; wrk puts the load on if it is installed.
bench-http: $(VENV)/.everything
	$(BIN)/python -m benchmarks.http --ours

# Other model servers, and other servers for ours, each in an environment of its own.
bench-peers: $(VENV)/.everything $(PEERS:%=.venv-peers/%/.made)
	$(BIN)/python -m benchmarks.http --write

bench-servers: $(VENV)/.everything .venv-peers/servers/.made
	$(BIN)/python -m benchmarks.http --servers --write

bench-breakdown: $(VENV)/.everything .venv-peers/servers/.made
	$(BIN)/python -m benchmarks.breakdown --write

.venv-peers/servers/.made: requirements-serve.txt
.venv-peers/%/.made: benchmarks/peers/requirements-%.txt
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-decoding: $(VENV)/.everything
	$(BIN)/python -m benchmarks.decoding --write

# Two minutes, and six.
bench-overload: $(VENV)/.everything
	$(BIN)/python -m benchmarks.overload

bench-restarts: $(VENV)/.everything
	$(BIN)/python -m benchmarks.restarts

results: $(VENV)/.everything
	$(BIN)/python -m garments.training.results
	$(BIN)/python -m garments.training.photo_results

lint: $(VENV)/.everything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

# Needs uv. The bounds stand in pyproject.toml; these three files pin what was tested.
lock:
	uv pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-header \
		--no-annotate pyproject.toml --output-file requirements-serve.txt
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
		--no-annotate pyproject.toml --extra train --extra test \
		--constraint requirements-serve.txt --output-file requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header \
		--no-annotate pyproject.toml --extra cluster \
		--constraint requirements.txt --output-file requirements-cluster.txt

# What may be somebody's own stays: pictures, CSVs, and what the nights left.
clean:
	rm -rf $(VENV) .venv-peers .coverage .fuzz .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.serving: requirements-serve.txt | $(BIN)/python
	$(PIP) -r requirements-serve.txt
	touch $@

$(VENV)/.everything: requirements.txt | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo 'training and tests need Python 3.11, 3.12 or 3.13: rm -r $(VENV), then make $(MAKECMDGOALS) PYTHON=…'; \
		exit 2; }
	$(PIP) -r requirements.txt
	touch $@ $(VENV)/.serving
