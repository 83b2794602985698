# Every command of the project. `make help` lists them; README.md says which two to begin with.
SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
UV = $(shell scripts/ensure-uv)
RUN = $(UV) run --frozen
# Tests that mostly wait. Those that stop machines of the lab (`alone`) are a group, so beside others that need no lab.
TOGETHER = $(RUN) pytest --dist loadgroup --timeout 900 --durations 30

CLUSTER ?= lab
NODES ?= 3

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: ## the main job, narrated: a cluster, helm install, a Cloud, real files in and out
	$(RUN) python demo/story.py --cluster $(CLUSTER)

.PHONY: test
test: check lab-up ## everything: what CI runs
	scripts/install-clients
	scripts/install-monitoring
	MOLN_TEST_NODES=5 MOLN_TEST_APART=1 $(RUN) pytest -q -n 2 tests/node/s3
	$(TOGETHER) -n 3 -m "alone or ((clients or monitoring or crash or processes) and not lab)"
	$(TOGETHER) -n 4 -m "lab and not alone"

.PHONY: check
check: lint unit ## lint, types, layers, unit tests; before each commit

.PHONY: lint
lint: ## ruff, mypy --strict, import layers, generated files
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy spec operator node cli lab bench demo monitoring tests
	$(RUN) lint-imports
	$(RUN) python -m moln_spec.crds --check
	$(RUN) python monitoring/build.py --check

.PHONY: unit
unit: ## the tests that need nothing but Python
	$(RUN) pytest -q -n 2 --durations 20 -m "not lab and not clients and not monitoring and not crash and not processes"

.PHONY: pictures
pictures: lab-up ## the dashboards and the operator's page for docs/, of a cloud on the lab and of an example
	scripts/install-monitoring
	MOLN_PICTURES=docs/images $(RUN) pytest --timeout 900 tests/monitoring/test_page.py tests/e2e/test_monitoring.py

.PHONY: soak
soak: ## many nodes under faults, the history checked: SECONDS=60 NODES=3 SEED=1 SOAK=--harsh
	$(RUN) python -m tests.cluster.soak --seconds $(or $(SECONDS),60) --nodes $(NODES) $(if $(SEED),--seed $(SEED)) $(SOAK)

.PHONY: survive
survive: ## many nodes that acknowledge by one, under faults; what was acknowledged is there: SECONDS=60 NODES=5 SEED=1
	$(RUN) python -m tests.cluster.survival --seconds $(or $(SECONDS),60) --nodes $(or $(NODES),5) $(if $(SEED),--seed $(SEED))

.PHONY: crash
crash: ## kill the store and cut its power, again and again, what it told compared: CYCLES=1000 SEED=1
	MOLN_CRASH_CYCLES=$(or $(CYCLES),1000) $(if $(SEED),MOLN_CRASH_SEED=$(SEED)) $(RUN) pytest -m crash tests/node/store

.PHONY: fuzz
fuzz: ## signed nonsense for every operation of S3, never answered with an error of ours: EXAMPLES=20000
	MOLN_FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(RUN) pytest --timeout 7200 tests/node/s3/test_fuzz.py

.PHONY: bench
bench: ## side by side with other servers, as ratios: one node, three, five (docs/benchmarks.md)
	$(RUN) python bench/run.py
	$(RUN) python bench/run.py --nodes 3
	$(RUN) python bench/run.py --nodes 5

.PHONY: lab-up
lab-up: ## a real Kubernetes on this machine (docs/lab.md)
	$(RUN) moln-lab up --nodes $(NODES)

.PHONY: lab-down
lab-down: ## take it down, its volumes too; only the cache of builds stays
	$(RUN) moln-lab down

.PHONY: lab-status
lab-status: ## a line per node
	$(RUN) moln-lab status
