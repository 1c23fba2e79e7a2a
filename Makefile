# One command each; `make` alone lists them. Everything lives in .venv and .cache, nothing in the system.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Tools run from the virtual environment and from the repository root, whatever the caller's shell has set.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
unexport ANSIBLE_COLLECTIONS_PATH PYTHONPATH
# Lines of plugins/ that the unit tests must reach, in percent.
COVERAGE ?= 90

.PHONY: help setup demo test unit lint sanity integration scenarios molecule test-vllm test-deployment test-gpu demo-provision provisioning accessibility bench bench-peers changelog clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with pinned requirements (PYTHON=python3.12 chooses one)
	@scripts/setup.sh

demo: setup ## validate the built-in fleet of simulated nodes (no GPU needed)
	@scripts/demo.sh

# What makes load on simulated nodes is in one lane, the last stage has the machine for itself: their verdicts want it.
test: setup ## every check below except test-vllm
	@scripts/test.sh sanity,unit+integration,molecule-default+provisioning,molecule-gpu_host,lint,accessibility scenarios

# Two steps, because slipcover forgets the workers of pytest-xdist when one step collects and judges.
unit: setup ## unit tests with coverage of plugins/
	@mkdir -p .cache
	@python -m slipcover --source plugins --json --out .cache/coverage.json -m pytest -n 2 -q --durations 5 $(ARGS)
	@python -m slipcover --merge .cache/coverage.json --out .cache/coverage.json --skip-covered --fail-under $(COVERAGE)

lint: setup ## ansible-lint (production), yamllint, ruff
	@scripts/lint.sh

sanity: setup ## ansible-test sanity
	@scripts/ansible_test.sh sanity $(ARGS)

integration: setup ## ansible-test integration: the modules on a simulated node
	@scripts/ansible_test.sh integration $(ARGS)

scenarios: setup ## every scenario of the simulated node through validate.yml
	@pytest -q -o timeout=900 --durations 3 tests/scenarios $(ARGS)

molecule: setup ## the roles on real SSH hosts on this machine
	@scripts/molecule.sh $(ARGS)

molecule-%: setup
	@SCENARIO=$* scripts/molecule.sh $(ARGS)

test-vllm: setup ## validate a real vLLM on CPU (VLLM_VERSION=0.27.0 for the older one)
	@tests/real_vllm/run.sh

test-deployment: setup ## prepare, deploy, tune and site on a real Docker Engine (root, Debian's docker.io)
	@tests/deployment/run.sh $(ARGS)

test-gpu: ## on a node with GPUs: hold the collection against nvidia-smi, measured copies, real loads and NCCL
	@tests/real_gpu/run.sh $(or $(OUT),tests/output/real_gpu) $(ARGS)

demo-provision: setup ## provision, find and tear down a fleet against a stand-in for the Linode API (no account needed)
	@python scripts/demo_provision.py $(ARGS)

provisioning: setup ## the provisioning suite, each request judged by Linode's own API document (needs node and npm)
	@tests/provisioning/run.sh $(ARGS)

accessibility: setup ## the HTML report in Chromium: offline, dark, on a phone, judged by axe-core (needs Chromium, node and npm)
	@tests/accessibility/run.sh $(ARGS)

bench: setup ## how true and how fast the measuring parts are (12 minutes on a quiet machine; RUNS=1 ARGS="probe scan")
	@benchmarks/bench.sh ours $(ARGS)

bench-peers: setup ## ours beside vllm bench serve, guidellm and aiperf (20 minutes, 11 GB on first use)
	@benchmarks/bench.sh peers $(ARGS)

changelog: setup ## write CHANGELOG.md from the fragments (VERSION=0.2.0)
	@antsibull-changelog release --version $(VERSION)

clean: ## remove everything that these commands made
	@rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis .ansible tests/output validation-reports
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
