#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Install the load tools for bench_peers.py, each in a separate virtual environment under .cache (11 GB).
# vLLM is the installation of `make test-vllm`; all tools use the tokenizer of its small model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(.venv/bin/python -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')

install() {
    local home=.cache/peers/$1
    [ -e "$home/complete" ] && return
    echo "installing $1 into $home"
    rm -rf "$home"
    "$python" -m venv "$home"
    "$home/bin/python" -m pip --quiet --disable-pip-version-check install "$1"
    touch "$home/complete"
}

.venv/bin/python tests/real_vllm/install.py
for peer in guidellm==0.8.1 aiperf==0.13.0; do install "$peer"; done
