#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Tests the roles gpu_host, vllm and tune on a real Docker Engine, which runs only during the test, and site.yml from an
# empty account to a validated fleet. Names select parts: tests/deployment/run.sh first_deployment mistakes, or site,
# host, lifecycle, tuning, tuning seeds, kills, or kills deploy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=$PATH:/usr/sbin:/sbin

missing=()
for program in dockerd docker iptables ip debootstrap dpkg-deb gpg cc; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if [ "$(id -u)" -ne 0 ] || [ "${#missing[@]}" -gt 0 ]; then
    echo "deployment: this test needs root, and on Debian: apt install --no-install-recommends" \
        "docker.io containerd runc iptables iproute2 debootstrap gpg gcc libc6-dev (missing: ${missing[*]:-nothing})" >&2
    exit 1
fi

case ${1:-all} in
site) .venv/bin/python tests/deployment/whole_site.py "${@:2}" ;;
host | lifecycle | tuning | kills) .venv/bin/python "tests/deployment/$1.py" "${@:2}" ;;
all)
    .venv/bin/python tests/deployment/run.py
    for part in tuning kills host lifecycle whole_site; do .venv/bin/python "tests/deployment/$part.py"; done
    ;;
*) .venv/bin/python tests/deployment/run.py "$@" ;;
esac
