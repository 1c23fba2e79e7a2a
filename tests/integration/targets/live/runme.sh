#!/usr/bin/env bash
# What a person, a pipeline and an interrupted run see of long work, on simulated nodes.
set -euo pipefail
exec python watch.py "${OUTPUT_DIR:-$(mktemp -d)}"
