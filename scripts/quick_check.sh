#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs quick_check on a simulated node with the ansible-playbook on PATH, in an empty directory. Fails if a check fails
# or Ansible prints a warning: Ansible reports an exception in a callback plugin only as a warning.
set -euo pipefail

work=$(mktemp -d)
readonly work
cd "$work"

finish() {
    ansible-playbook -i simulated-nodes.yml multigpu.vllm.simulate -e simulated_node_state=stopped >stop.log 2>&1 || cat stop.log
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

play() { ansible-playbook "$@" >>output 2>&1 || { cat output && exit 1; }; }

export ANSIBLE_DEPRECATION_WARNINGS=true
play -i localhost, multigpu.vllm.simulate -e simulate_dir="$work/nodes"
play -i simulated-nodes.yml multigpu.vllm.quick_check
if grep -q 'WARNING\]' output; then
    cat output
    echo "quick_check: Ansible printed a warning (see above)" >&2
    exit 1
fi
echo "quick_check: a simulated node passed in $SECONDS s with $(ansible-playbook --version | sed -n '1s/.*\[\(.*\)].*/\1/p')"
