#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Creates .venv with the pinned requirements and makes the collection importable under its name.
# Does nothing if .venv is up to date. PYTHON=/path/to/python3.x selects the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly STAMP=$VENV/.setup-stamp
readonly LOG=$VENV/setup.log

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Run the interpreter: a pyenv shim on PATH can fail, and Debian packages ensurepip separately.
suitable() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" || die "PYTHON must be Python 3.11 to 3.14 with venv and ensurepip, got $PYTHON."
        echo "$PYTHON"
        return
    fi
    local candidate
    while IFS= read -r candidate; do
        # make puts .venv first on PATH; an environment cannot be created from itself.
        if [[ $candidate != "$PWD/$VENV/"* ]] && suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done < <(type -ap python3 python3.13 python3.12 python3.11 python3.14)
    die "no Python 3.11 to 3.14 with venv found on PATH." \
        "Debian and Ubuntu: apt install python3 python3-venv. Or select one: make setup PYTHON=/path/to/python3.12"
}

fingerprint() {
    { command -v cc >/dev/null && echo cc; cat requirements*.txt constraints.txt scripts/collections.sh "${BASH_SOURCE[0]}"; } | sha256sum | cut -d' ' -f1
}

# An environment is kept and updated unless it was moved (its scripts contain absolute paths), is broken, or was created
# with an interpreter other than PYTHON.
keepable() {
    local identity='import sys; print(sys.base_prefix, sys.version)'
    [ "$(cat "$VENV/.made-for" 2>/dev/null)" = "$(pwd -P)" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 &&
        { [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -c "$identity")" = "$("$VENV/bin/python" -c "$identity")" ]; }
}

# On a terminal, show how many packages pip has found and downloaded while it works.
show_progress() {
    [ -t 1 ] || return 0
    while sleep 1; do
        if grep -q '^Installing collected packages' "$LOG"; then
            printf '\rsetup: installing %s packages   ' "$(grep -c '^Collecting' "$LOG")"
        else
            printf '\rsetup: found %s packages   ' "$(grep -c '^Collecting' "$LOG")"
        fi
    done
}

pip_install() {
    "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-compile --constraint constraints.txt "$@" >>"$LOG" 2>&1 || {
        grep -v '^WARNING' "$LOG" | tail -n 20 >&2
        die "pip could not install the requirements; see $LOG"
    }
}

# For both Ansible and Python, the symlink acts as an installed collection.
link_collection() {
    local site
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$site/ansible_collections/multigpu"
    ln -sfn "$(pwd -P)" "$site/ansible_collections/multigpu/vllm"
}

main() {
    local current python watcher
    current=$(fingerprint)
    if [ "$(cat "$STAMP" 2>/dev/null)" = "$current" ] && keepable; then
        return
    fi
    if ! keepable; then
        python=$(choose_python)
        echo "setup: $VENV with $("$python" --version) ($python)"
        "$python" -m venv --clear "$VENV"
        pwd -P >"$VENV/.made-for"
    fi
    echo "setup: installing the requirements"
    : >"$LOG"
    show_progress &
    watcher=$!
    # Expanded now: the variable does not exist any more when the script ends.
    # shellcheck disable=SC2064
    trap "kill $watcher 2>/dev/null || true" EXIT
    pip_install --requirement requirements-test.txt
    command -v cc >/dev/null || pip_install --requirement requirements-compiler.txt
    link_collection
    scripts/collections.sh >>"$LOG" 2>&1 || die "the collections of galaxy.yml could not be installed; see $LOG"
    echo "$current" >"$STAMP"
    kill "$watcher" 2>/dev/null && printf '\r\033[K'
    echo "setup: ready"
}

main
