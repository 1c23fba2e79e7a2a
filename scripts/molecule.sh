#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs the Molecule scenarios on SSH hosts on this machine, each an sshd on a loopback address, without containers.
#   default: validation of three simulated nodes; without sshd, it uses the local connection
#   gpu_host: the role on nine hosts with fake commands; needs root, sshd and mount namespaces
# SCENARIO=gpu_host selects a scenario. Arguments are passed to molecule: scripts/molecule.sh converge
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH:/usr/sbin

FLEET_USER=$(id -un)
FLEET_SSHD=$(command -v sshd || true)
FLEET_CONNECTION=$([ -n "$FLEET_SSHD" ] && echo ssh || echo local)
export FLEET_USER FLEET_SSHD FLEET_CONNECTION
export FLEET_ANSIBLE_CONFIG=$PWD/ansible.cfg
export ANSIBLE_PIPELINING=true
export ANSIBLE_DISPLAY_SKIPPED_HOSTS=false
export ANSIBLE_INJECT_FACT_VARS=false

if [ "$FLEET_CONNECTION" = local ]; then
    echo "molecule: no sshd on this machine (Debian: apt install openssh-server), so the nodes are local, and the loss of a node is not tested"
elif [ "$(id -u)" -eq 0 ]; then
    mkdir -p /run/sshd # as the service unit of the package does; sshd does not start without it
fi

# Molecule destroys its instances unless it is interrupted.
stop_fleet() {
    if compgen -G "$FLEET_DIRECTORY/*.pid" >/dev/null || compgen -G "$FLEET_DIRECTORY/*/node.json" >/dev/null; then
        molecule destroy --scenario-name "$scenario" >/dev/null 2>&1 || true
    fi
    rm -rf "$FLEET_DIRECTORY"
}
trap 'exit 130' INT TERM

free_port='import socket; s = socket.socket(); s.bind(("127.0.1.11", 0)); print(s.getsockname()[1])'
for scenario in ${SCENARIO:-default gpu_host}; do
    if [ "$scenario" = gpu_host ] && { [ "$FLEET_CONNECTION" = local ] || ! unshare --mount true 2>/dev/null; }; then
        echo "molecule: gpu_host not tested: it needs root, sshd and mount namespaces"
        continue
    fi
    FLEET_DIRECTORY=$(mktemp -d "${TMPDIR:-/tmp}/fleet.XXXXXX")
    # Keep the files of the run out of the user's home.
    export FLEET_DIRECTORY MOLECULE_EPHEMERAL_DIRECTORY=$FLEET_DIRECTORY/molecule
    trap stop_fleet EXIT
    python -c "$free_port" >"$FLEET_DIRECTORY/port"
    molecule "${@:-test}" --scenario-name "$scenario"
    stop_fleet
done
