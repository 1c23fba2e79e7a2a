#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Check the live display on a terminal, in a pipe and in interrupted runs, on simulated nodes.
set -euo pipefail
# Without bytecode, each task compiles its module again.
export PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH/ansible_collections/multigpu/vllm/tests/support/bytecode:$PYTHONPATH
exec python watch.py "${OUTPUT_DIR:-$(mktemp -d)}"
