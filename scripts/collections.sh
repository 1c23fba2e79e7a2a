#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the collections that galaxy.yml depends on, and awx.awx for playbooks/awx.yml, into .venv. Users install them
# from Galaxy. The checks extract them from the PyPI package "ansible", which contains the same files, so that they need
# only one package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BUNDLE=ansible==12.3.0
readonly TREES=(awx/awx community/docker community/library_inventory_filtering_v1)
readonly CACHE=.cache/collections

site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
stamp=$site/ansible_collections/.multigpu-vllm-dependencies
[ "$(cat "$stamp" 2>/dev/null)" = "$BUNDLE ${TREES[*]}" ] && exit

mkdir -p "$CACHE"
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$CACHE" "$BUNDLE"
.venv/bin/python - "$CACHE" "$site" "${TREES[@]}" <<'PYTHON'
import pathlib
import sys
import zipfile

cache, site, *trees = sys.argv[1:]
prefixes = tuple(f"ansible_collections/{tree}/" for tree in trees)
with zipfile.ZipFile(next(pathlib.Path(cache).glob("ansible-12.3.0-*.whl"))) as wheel:
    wheel.extractall(site, [name for name in wheel.namelist() if name.startswith(prefixes)])
PYTHON
echo "$BUNDLE ${TREES[*]}" >"$stamp"
