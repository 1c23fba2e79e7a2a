#!/usr/bin/env bash
# Runs the Molecule scenarios over three SSH hosts on this machine: one sshd for each, on 127.0.1.11 to 13, without
# containers or root. Where there is no sshd the nodes are reached by the local connection.
# Further arguments go to molecule: scripts/molecule.sh converge
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH:/usr/sbin

FLEET_DIRECTORY=$(mktemp -d "${TMPDIR:-/tmp}/fleet.XXXXXX")
FLEET_USER=$(id -un)
FLEET_SSHD=$(command -v sshd || true)
FLEET_CONNECTION=$([ -n "$FLEET_SSHD" ] && echo ssh || echo local)
export FLEET_DIRECTORY FLEET_USER FLEET_SSHD FLEET_CONNECTION
# Nothing of the run lands in the user's home.
export MOLECULE_EPHEMERAL_DIRECTORY=$FLEET_DIRECTORY/molecule
export FLEET_ANSIBLE_CONFIG=$PWD/ansible.cfg
export ANSIBLE_PIPELINING=true
export ANSIBLE_DISPLAY_SKIPPED_HOSTS=false
export ANSIBLE_INJECT_FACT_VARS=false

# Molecule destroys what it made, unless it was interrupted.
stop_fleet() {
    if compgen -G "$FLEET_DIRECTORY/*.pid" >/dev/null || compgen -G "$FLEET_DIRECTORY/*/node.json" >/dev/null; then
        molecule destroy >/dev/null 2>&1 || true
    fi
    rm -rf "$FLEET_DIRECTORY"
}
trap stop_fleet EXIT
trap 'exit 130' INT TERM

free_port='import socket; s = socket.socket(); s.bind(("127.0.1.11", 0)); print(s.getsockname()[1])'
python -c "$free_port" >"$FLEET_DIRECTORY/port"
if [ "$FLEET_CONNECTION" = local ]; then
    echo "molecule: no sshd on this machine (Debian: apt install openssh-server), so nodes are local and none is lost halfway"
elif [ "$(id -u)" -eq 0 ]; then
    mkdir -p /run/sshd # what the package's service unit does; sshd refuses to start without it
fi
molecule "${@:-test}"
