#!/usr/bin/env bash
# ansible-lint with the strictest profile (it runs yamllint too), then ruff.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

ansible-lint --offline --profile production "$@"
ruff check .
