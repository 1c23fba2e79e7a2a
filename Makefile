# Run `make` to list the commands. They write to .venv, .cache and tests/output only, never to the system.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Tools come from the virtual environment and paths from the repository root, whatever the caller's shell sets.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Without bytecode, each process compiles the collection and the tests again.
unexport ANSIBLE_COLLECTIONS_PATH PYTHONPATH PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED
# Share of the lines of plugins/ that the unit tests must execute, in percent.
COVERAGE ?= 90
# These targets run playbooks, whose modules need not be compiled again in every task.
unit scenarios molecule molecule-% provisioning: export PYTHONPATH := $(CURDIR)/tests/support/bytecode

.PHONY: help setup demo test unit lint sanity integration scenarios molecule test-vllm test-multi-node test-deployment test-gpu test-eda matrix demo-provision provisioning accessibility bench bench-peers docs changelog release clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create .venv with the pinned requirements (PYTHON=python3.12 selects an interpreter)
	@scripts/setup.sh

demo: setup ## validate three simulated nodes (no GPU needed)
	@scripts/demo.sh

# Three lanes keep two cores busy. The scenarios put load on many simulated nodes at once, so the other targets with such
# nodes, which are short, have ended before them.
test: setup ## run every check except test-vllm, test-multi-node, test-deployment and test-gpu
	@scripts/test.sh sanity,lint,accessibility,unit+integration,scenarios+molecule-default,molecule-gpu_host,provisioning

# Two steps: with --fail-under in the first one, slipcover 1.1.0 loses the results of the pytest-xdist workers.
unit: setup ## run the unit tests and check the coverage of plugins/
	@mkdir -p .cache
	@python -m slipcover --source plugins --json --out .cache/coverage.json -m pytest -n 2 -q --durations 5 $(ARGS)
	@python -m slipcover --merge .cache/coverage.json --out .cache/coverage.json --skip-covered --fail-under $(COVERAGE)

lint: setup ## run ruff, mypy --strict, antsibull-docs and ansible-lint (production, with yamllint)
	@scripts/lint.sh

sanity: setup ## run ansible-test sanity
	@scripts/ansible_test.sh sanity $(ARGS)

integration: setup ## run ansible-test integration: the modules on a simulated node
	@scripts/ansible_test.sh integration $(ARGS)

scenarios: setup ## run validate.yml over every scenario of the simulated node
	@pytest -q -o timeout=900 --durations 3 tests/scenarios $(ARGS)

molecule: setup ## run the roles over SSH against hosts on this machine
	@scripts/molecule.sh $(ARGS)

molecule-%: setup
	@SCENARIO=$* scripts/molecule.sh $(ARGS)

test-vllm: setup ## validate a real vLLM on CPU (VLLM_VERSION=0.27.0 selects another release)
	@tests/real_vllm/run.sh

test-multi-node: setup ## deploy a real vLLM on CPU over two nodes (BACKEND=ray: with Ray; needs root and Debian's docker.io)
	@.venv/bin/python tests/real_vllm/group.py $(ARGS)

test-deployment: setup ## run prepare, deploy, tune and site on a real Docker Engine (needs root and Debian's docker.io)
	@tests/deployment/run.sh $(ARGS)

test-gpu: ## on a GPU node: compare the collection with nvidia-smi, measured copies, real loads and NCCL (ARGS=vllm: a real vLLM)
	@tests/real_gpu/run.sh $(or $(OUT),tests/output/real_gpu) $(ARGS)

test-eda: setup ## run the rulebooks for Event-Driven Ansible with ansible-rulebook (needs Java 17)
	@[ -x .cache/eda/bin/ansible-rulebook ] || { python -m venv .cache/eda; .cache/eda/bin/pip install --quiet --constraint constraints.txt ansible-rulebook==1.3.2 ansible-core==2.19.14; }
	@pytest -q tests/unit/test_event_driven.py $(ARGS)

demo-provision: setup ## provision, list and tear down a fleet on a fake Linode API (no account needed)
	@python scripts/demo_provision.py $(ARGS)

core-%: setup
	@scripts/matrix.sh core $(subst -, ,$*)

unit-%: setup
	@scripts/matrix.sh unit $(subst -, ,$*)

sanity-%: setup
	@scripts/matrix.sh sanity $(subst -, ,$*)

node-%: setup
	@scripts/matrix.sh node $(subst -, ,$*)

matrix: ## test every supported ansible-core and Python (an hour; one of them: make core-2.21, unit-2.21-3.14, sanity-2.21, node-3.10)
	@scripts/test.sh node-3.10,core-2.19,unit-2.19-3.12,sanity-2.19,core-2.20,unit-2.20-3.13,sanity-2.20,core-2.21,unit-2.21-3.14,sanity-2.21

provisioning: setup ## test provisioning; every request is validated against Linode's OpenAPI document (needs npm)
	@tests/provisioning/run.sh $(ARGS)

accessibility: setup ## check the HTML report in Chromium with axe-core: offline, dark mode, phone (needs Chromium, npm)
	@tests/accessibility/run.sh $(ARGS)

bench: setup ## measure accuracy and cost of the probe, scanner and fleet run (12 minutes; RUNS=1 ARGS="probe scan")
	@benchmarks/bench.sh ours $(ARGS)

bench-peers: setup ## compare the probe with vllm bench serve, guidellm and aiperf (20 minutes, 11 GB on first use)
	@benchmarks/bench.sh peers $(ARGS)

docs: setup ## build the documentation site in .cache/docs/html (ARGS=external: check links to other sites, too)
	@scripts/docs.sh $(ARGS)

changelog: setup ## write CHANGELOG.md from the fragments (VERSION=0.2.0)
	@antsibull-changelog release --version $(VERSION)

release: setup ## write artifact, changelog, SBOM and checksums of the version in galaxy.yml to dist
	@scripts/release.sh

clean: ## remove everything that these commands created
	@rm -rf .venv .cache dist .pytest_cache .ruff_cache .hypothesis .ansible tests/output validation-reports
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
