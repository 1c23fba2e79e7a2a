#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Compare the collection's results on real GPUs with nvidia-smi, measured copies, real loads and real NCCL:
#
#     tests/real_gpu/run.sh OUT [PHASE...]
#     tests/real_gpu/run.sh OUT vllm|speeds [--help]     # a real vLLM on two GPUs
#     tests/real_gpu/run.sh OUT peers                    # the data that two GPUs exchange
#     tests/real_gpu/run.sh OUT outputs [--help]         # the answers of healthy servers on one GPU
#
# Needs a node with GPUs and a Python with torch, nvidia-ml-py, requests and ansible-core (or wheels of ansible-core and
# its dependencies in the directory WHEELS). Set NCCL_TESTS to a source tree of NVIDIA's nccl-tests (2.17 or newer) to
# build all_reduce_perf with nvcc, or set ALL_REDUCE_PERF to the program. Writes OUT/results.json, OUT/report.txt and
# OUT/recordings.tar.gz.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(realpath -m "${1:?usage: tests/real_gpu/run.sh OUT [PHASE...]}")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/site" "$work/collections/ansible_collections/multigpu"
ln -s "$PWD" "$work/collections/ansible_collections/multigpu/vllm"
export PYTHONPATH="$work/collections:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
# The NVLink switches may be shared with other users, so NVLink multicast is off by default.
export NCCL_NVLS_ENABLE="${NCCL_NVLS_ENABLE:-0}" TORCH_SYMM_MEM_DISABLE_MULTICAST="${TORCH_SYMM_MEM_DISABLE_MULTICAST:-1}"
export NVSHMEM_DISABLE_NVLS="${NVSHMEM_DISABLE_NVLS:-1}"
python=${PYTHON:-python3}
"$python" -c 'import ansible' 2>/dev/null \
  || "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "${WHEELS:-.whl}"/*.whl
script=run.py
case "${1:-}" in
  vllm | speeds) script=vllm_lane.py ;;
  peers) script=peer_access.py ;;
  outputs) script=outputs.py ;;
esac
"$python" "tests/real_gpu/$script" "$out" "$@"
