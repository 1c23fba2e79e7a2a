#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Usage: run.sh [--pictures DIR] [REPORT.html...]
# Opens HTML reports offline in Chromium (wide, dark, on a phone) and checks their accessibility with axe-core. Without
# arguments, it renders reports with every kind of node. --pictures DIR keeps screenshots and a PDF. CHROMIUM selects
# the browser.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$here/../../.cache/accessibility
: "${CHROMIUM:=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
if [[ -z $CHROMIUM ]] || ! command -v npm >/dev/null; then
  echo "not tested: the appearance of the HTML report, because Chromium or npm is not installed"
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
