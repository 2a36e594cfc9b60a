# Everything starts here: `make demo` runs the example job on this machine,
# `make test` proves the project. Both do all their own set-up in .venv and
# .cache and are quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
COMPILE := uv pip compile --generate-hashes --universal --python-version 3.11 \
           --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet
# Where it is set, as in many containers, every process compiles torch and all else anew: half of the
# time that thousands of processes take to start.
unexport PYTHONDONTWRITEBYTECODE
# Two processes of tests: most tests wait for other processes more than they compute. By file, since
# a file's tests share what is slow to make; the longest first, as tests/conftest.py says.
BESIDE := -n 2 --dist loadfile --no-loadscope-reorder
# Those that wait for a cluster, or for one process of a job after the other, leave a third of two
# cores idle even so.
WAITING := -n 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test quick nightly lint types contracts unit coverage integration chart local fuzz release release-verify e2e e2e-images node generate install-yaml verify bench faults cluster hdfs images lock clean

help:            ## list the targets
	@grep -E '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

# --- set-up -----------------------------------------------------------------
$(VENV)/.setup: requirements/setup.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed (set PYTHON=...)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/setup.txt
	@touch $@

$(VENV)/.local: $(VENV)/.setup requirements/local.txt pyproject.toml
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes -r requirements/local.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m trainingjob.runtime.preprocess.engines.archive 2>/dev/null || echo 'Spark will start without an archive of its classes'
	@touch $@

$(VENV)/.dev: $(VENV)/.local requirements/dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --require-hashes -r requirements/dev.txt
	@touch $@

S3 := .cache/s3/.built
$(S3): $(VENV)/.setup requirements/s3.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/s3
	$(BIN)/uv pip install --python .cache/s3/bin/python --quiet --require-hashes -r requirements/s3.txt
	@touch $@

# Wheels of what people's own code is written for. Each test's job installs its own, and no others.
FRAMEWORKS := .cache/frameworks/.built
$(FRAMEWORKS): $(VENV)/.setup requirements/frameworks.txt
	rm -rf $(@D)
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
	  --dest $(@D) -r requirements/frameworks.txt
	@touch $@

VERSITYGW := .cache/cluster/.built-versitygw
$(VERSITYGW): $(VENV)/.dev tests/cluster/versitygw/go.mod tests/cluster/versitygw/go.sum
	$(BIN)/python -m tests.cluster.versitygw

FAKEGCS := .cache/cluster/.built-fakegcs
$(FAKEGCS): $(VENV)/.dev tests/cluster/fakegcs/go.mod tests/cluster/fakegcs/go.sum
	$(BIN)/python -m tests.cluster.fakegcs

AZURITE := .cache/azurite/.built
$(AZURITE): tests/cluster/azurite/package.json tests/cluster/azurite/package-lock.json
	@mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

BROWSER := .cache/browser/.built
$(BROWSER): tests/cluster/browser/package.json tests/cluster/browser/package-lock.json
	@mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

HDFS := .cache/hdfs/.built
$(HDFS): $(VENV)/.dev tests/cluster/hdfs/pom.xml tests/cluster/hdfs/jars.sha256
	$(BIN)/python -m tests.cluster.hdfs
	@touch $@

# Beside Spark, where the images have them, too.
S3A := $(VENV)/share/trainingjob/s3/.built
$(S3A): $(VENV)/.dev images/spark/s3/jars/.built
	@mkdir -p $(@D)
	cp images/spark/s3/jars/*.jar $(@D)
	@touch $@

images/spark/s3/jars/.built: $(VENV)/.dev images/spark/s3/pom.xml images/spark/s3/jars.sha256
	$(BIN)/python -m tests.cluster.hdfs images/spark/s3 images/spark/s3/jars
	@touch $@

CLUSTER := .cache/cluster/.built
$(CLUSTER): $(VENV)/.dev tests/cluster/go.mod tests/cluster/go.sum $(wildcard tests/cluster/*/*.go)
	$(BIN)/python -m tests.cluster.build

KSERVE := .cache/cluster/kserve-v0.20.0.yaml
$(KSERVE): $(VENV)/.dev tests/cluster/kserve.py
	$(BIN)/python -m tests.cluster.kserve
	@touch $@

# --- the two commands ---------------------------------------------------------
demo: $(VENV)/.local  ## run examples/digits end to end on this machine
	$(BIN)/python examples/make_data.py
	$(BIN)/trainingjob run examples/digits/job.yaml

test: quick verify integration chart local  ## everything that proves the project

quick:           ## what to run while you work: two minutes
	@# Types take one core for a minute where nothing is cached.
	$(MAKE) -j2 --no-print-directory lint types contracts unit

nightly: $(CLUSTER) $(KSERVE) $(S3) $(S3A) $(HDFS) $(VERSITYGW) $(FAKEGCS) $(AZURITE) $(BROWSER) $(FRAMEWORKS)  ## what is long by nature, beside `make test`
	$(BIN)/python examples/make_data.py
	$(BIN)/python -m pytest -m nightly tests/local tests/integration $(BESIDE)

# --- the parts of `make test` ---------------------------------------------------
lint: $(VENV)/.dev  ## ruff: style and likely mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy, strict on api/ and core/
	$(BIN)/mypy

contracts: $(VENV)/.dev  ## import-linter: who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/.dev  ## fast tests: no Java, no torch processes
	$(BIN)/python -m pytest tests/unit tests/fuzz $(BESIDE) $(ARGS)

# By itself: to count lines takes half as long again as the tests.
coverage:        ## which lines the unit tests reach
	$(MAKE) --no-print-directory unit ARGS="--cov --cov-report=term:skip-covered"

local: $(VENV)/.dev $(S3) $(S3A) $(HDFS)  ## real Spark, torch.distributed and scikit-learn on this machine
	$(BIN)/python examples/make_data.py
	$(BIN)/python -m pytest tests/local $(WAITING)

integration: $(CLUSTER) $(KSERVE)  ## the operator on a real etcd and API server
	$(BIN)/python -m pytest tests/integration tests/faults $(WAITING)

chart: $(CLUSTER)  ## the Helm chart, with the real helm and API server
	$(BIN)/python -m pytest tests/chart $(WAITING)

# --- real pods --------------------------------------------------------------------
e2e: e2e-images $(S3) $(HDFS)  ## as root: our images in pods on a real node; installs the Debian packages for it
	$(BIN)/python examples/make_data.py
	$(BIN)/python -m pytest tests/e2e --timeout=900 $(ARGS)

e2e-images: $(CLUSTER) images/spark/s3/jars/.built  ## as root: the images that e2e runs, and the tools of its node
	$(BIN)/python -m tests.cluster.node.images

node: $(CLUSTER)  ## as root: a real node to try things on, until Ctrl-C (ARGS=--images)
	$(BIN)/python -m tests.cluster.node $(ARGS)

# --- generated files --------------------------------------------------------------
generate: $(VENV)/.dev  ## write the CRD and the reference page from the models
	$(BIN)/python -m trainingjob.api.generate

install-yaml: $(CLUSTER)  ## write deploy/install.yaml and the table of values from the chart
	$(BIN)/python deploy/generate.py

verify: $(VENV)/.dev  ## fail when a generated file is not what `make generate` writes
	$(BIN)/python -m trainingjob.api.generate --check

# --- the rest ------------------------------------------------------------------------
faults: $(CLUSTER)  ## every fault on every write and event: an hour; writes docs/reliability.md
	$(BIN)/python -m tests.faults $(ARGS)

fuzz: $(VENV)/.dev  ## inputs that nobody would write: ten minutes for each reader (ARGS="--seconds 60 CSV JSON")
	nice $(BIN)/python -m tests.fuzz $(ARGS)

bench: $(VENV)/.dev  ## print the figures of docs/performance.md
	$(BIN)/python -m tests.perf

cluster: $(CLUSTER)  ## a real control plane to try things on, until Ctrl-C (ARGS=--fake-kubelet)
	$(BIN)/python -m tests.cluster $(ARGS)

hdfs: $(HDFS)    ## a real HDFS to try things on, until Ctrl-C (ARGS=--kerberos): examples/hadoop
	$(BIN)/python examples/make_data.py
	@$(BIN)/python -m tests.cluster.hdfs.serve $(ARGS)

BUILDER ?= docker
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' operator/trainingjob/__init__.py)
images: images/spark/s3/jars/.built  ## build the container images (BUILDER=podman or buildah, BUILD_ARGS="--build-arg BASE=...")
	for image in operator spark torch; do \
	  BUILDAH_LAYERS=true $(BUILDER) build --file images/$$image/Dockerfile \
	    --tag trainingjob-$$image:$(VERSION) --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$$(git rev-parse HEAD) \
	    --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BUILD_ARGS) . || exit; \
	done

NEEDED = $(error KEY=FILE is missing: docs/releasing.md)
release: $(VENV)/.dev  ## write dist/VERSION: wheel, chart, bills of materials, signed (KEY=private.pem IMAGES="a.tar b.tar")
	$(BIN)/python -m release make dist/$(VERSION) --key $(or $(KEY),$(NEEDED)) $(IMAGES:%=--image %)

release-verify: $(VENV)/.dev  ## whether dist/VERSION is as it was signed (KEY=public.pem)
	$(BIN)/python -m release verify dist/$(VERSION) --key $(or $(KEY),$(NEEDED))

lock: $(VENV)/.setup  ## compile the hash-pinned requirements from pyproject.toml
	$(BIN)/$(COMPILE) requirements/setup.in -o requirements/setup.txt
	$(BIN)/$(COMPILE) requirements/go.in -o requirements/go.txt
	$(BIN)/$(COMPILE) requirements/s3.in -o requirements/s3.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra dev --extra operator -o requirements/dev.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra local -c requirements/dev.txt -o requirements/local.txt
	$(BIN)/$(COMPILE) requirements/frameworks.in -c requirements/dev.txt -o requirements/frameworks.txt \
	  $$(sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' requirements/dev.txt)
	$(BIN)/$(COMPILE) requirements/images.in -c requirements/setup.txt -c requirements/dev.txt -o requirements/images.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra operator -c requirements/dev.txt -o requirements/operator.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra spark -c requirements/dev.txt -o requirements/spark.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra torch -c requirements/dev.txt -o requirements/torch.txt

clean:           ## remove what the targets above made
	rm -rf $(VENV) images/spark/s3/jars .cache .trainingjob .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
