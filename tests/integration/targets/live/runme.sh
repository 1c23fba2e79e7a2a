#!/usr/bin/env bash
# Check the live display on a terminal, in a pipe and in interrupted runs, on simulated nodes.
set -euo pipefail
exec python watch.py "${OUTPUT_DIR:-$(mktemp -d)}"
