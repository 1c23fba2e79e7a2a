#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Looks at HTML reports as people do, in Chromium: wide, dark, on a phone; offline, with axe-core as the judge of
# accessibility. REPORTS are files to look at; without any, pages of every kind of node are made.
# --pictures DIR keeps screenshots and a PDF. CHROMIUM names another browser.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../.cache/accessibility
: "${CHROMIUM:=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
if [[ -z $CHROMIUM ]] || ! command -v npm >/dev/null; then
  echo "not tested: the looks of the HTML report, because Chromium, node or npm is not installed"
  exit 0
fi
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
if ! cmp -s "$here/package-lock.json" "$tools/package-lock.json" || [[ ! -d $tools/node_modules/axe-core ]]; then
  cp "$here/package.json" "$here/package-lock.json" "$tools/"
  npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel error
fi
options=()
if [[ ${1:-} == --pictures ]]; then
  mkdir -p "$2"
  options=("$1" "$2")
  shift 2
fi
if (($# == 0)); then
  rm -rf "$tools/reports"
  "$here/../../.venv/bin/python" "$here/reports.py" "$tools/reports"
  set -- "$tools"/reports/*.html
fi
CHROMIUM=$CHROMIUM NODE_MODULES=$tools exec node "$here/check.mjs" "${options[@]}" "$@"
