#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Validates the built-in fleet of simulated nodes and stops them afterwards, even if interrupted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg"
nodes=.cache/demo
child=

finish() {
  local code=$? directory
  trap - EXIT INT TERM
  # After an interruption, stop the playbook first, so that it starts no more nodes.
  if [[ -n $child ]] && kill -TERM "$child" 2>/dev/null; then
    wait "$child" 2>/dev/null || true
  fi
  for directory in "$nodes"/*/; do
    [[ -e $directory/node.json ]] || continue
    python roles/simulated_node/files/simulator/simulate.py stop --dir "$directory" >/dev/null
  done
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# In the background, because bash handles a signal during wait, but not while a foreground command runs.
ansible-playbook -i inventory/demo playbooks/demo.yml "$@" &
child=$!
wait "$child"
child=
printf '\nEvery node has the verdict that its scenario expects.\n'
