#!/usr/bin/env bash
# Validate a real vLLM server on CPU: VLLM_VERSION=0.27.0 tests/real_vllm/run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec .venv/bin/python tests/real_vllm/run.py "$@"
