#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the documentation site in .cache/docs/html and checks the links between its pages. Warnings are errors.
# With the argument "external", checks the links to other sites as well, which needs the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
readonly SITE=.cache/docs SOURCE=.cache/docs/source

python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --requirement requirements-docs.txt
rm -rf "$SITE"
# antsibull-docs requires a folder that only its owner may write.
mkdir -p "$SITE"
mkdir -m 700 "$SOURCE" "$SOURCE/reference"
cp --parents {README,CHANGELOG,CODE_OF_CONDUCT,CONTRIBUTING,MAINTAINERS,SECURITY}.md docs/*.* docs/images/* \
    roles/*/README.md "$SOURCE"
cp docs/docsite/index.md "$SOURCE"
# index.md includes the README, which is not a page of the site.
sed -i 's#(\.\./README\.md#(../index.md#g' "$SOURCE"/docs/*.md
antsibull-docs --config-file docs/docsite/antsibull-docs.cfg collection --use-current --squash-hierarchy --fail-on-error \
    --dest-dir "$SOURCE/reference" multigpu.vllm
# The theme has a table of contents beside each page.
sed -i '/^\.\. contents::/,/^$/d' "$SOURCE"/reference/*.rst

build() {
    sphinx-build --builder "$1" --conf-dir docs/docsite --doctree-dir "$SITE/doctrees" --fail-on-warning --keep-going \
        --quiet "$SOURCE" "$SITE/$1"
}

build html
python scripts/check_links.py "$SITE/html"
if [ "${1:-}" = external ]; then build linkcheck; fi
