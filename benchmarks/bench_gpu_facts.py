# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpu_facts costs: on a simulated node with eight GPUs, or on this machine's own beside ``nvidia-smi -q -x``.

``facts`` is the time inside the module, from opening NVML to the judged result; ``imports`` what Python needs before
that; ``process`` the whole of it, as a node runs it::

    .venv/bin/python benchmarks/bench_gpu_facts.py --runs 10 --output .cache/bench/gpu_facts.json
    .venv/bin/python benchmarks/bench_gpu_facts.py --real       # where nvidia-smi finds GPUs
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator

from common import ROOT, Figures, arguments, machine, measure, medians, run_module, write

SIMULATOR = ROOT / "roles/simulated_node/files/simulator/simulate.py"
#: A process of its own that times its parts; the module's own process tells nobody.
TIMED = """
import json, time
begun = time.perf_counter()
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.facts import run
imported = time.perf_counter()
result = run({"gather_subset": ["all"], "backend": "auto", "expected_count": None, "plan_gpus": None,
              "instance_type": None})
facts = time.perf_counter() - imported
print(json.dumps({"imports": imported - begun, "facts": facts, "gpu": result["ansible_facts"]["gpu"]}))
"""


@contextlib.contextmanager
def simulated_node(scenario: str) -> Iterator[dict[str, str]]:
    """The environment in which modules find the GPUs of ``scenario``."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, SIMULATOR]
        started = measure([*command, "start", "--scenario", scenario, "--dir", folder, "--port", "0"], keep=True)
        try:
            if started.status:
                raise SystemExit(f"the simulated node did not start: {started.errors}{started.output}")
            yield {"LD_LIBRARY_PATH": f"{folder}/lib"}
        finally:
            measure([*command, "stop", "--dir", folder])


def one_run(env: dict[str, str], real: bool) -> Figures:
    """Seconds of each part; with ``real`` also of ``nvidia-smi -q -x``, right after."""
    timed = measure([sys.executable, "-c", TIMED], env)
    if timed.status:
        raise SystemExit(timed.errors)
    parts = json.loads(timed.output)
    gpu = parts.pop("gpu")
    if gpu["backend"] is None:
        raise SystemExit("gpu_facts found no GPUs here; leave --real out for a simulated node")
    _result, cost = run_module("gpu_facts", {}, env)
    found = parts | {"process": cost.wall, "cpu": cost.cpu, "memory": cost.memory, "count": gpu["count"]}
    if real:
        listed = measure(["nvidia-smi", "-q", "-x"]).cost
        found |= {"nvidia_smi": listed.wall, "facts_ratio": parts["facts"] / listed.wall}
        found |= {"process_ratio": cost.wall / listed.wall}
    return found | {"backend": gpu["backend"]}


def main() -> None:
    parser = arguments(__doc__, runs=10)
    parser.add_argument("--scenario", default="healthy-tp8")
    parser.add_argument("--real", action="store_true", help="this machine's GPUs, beside nvidia-smi -q -x")
    options = parser.parse_args()
    report: Figures = {"machine": machine(), "node": "real" if options.real else options.scenario}
    with contextlib.nullcontext({}) if options.real else simulated_node(options.scenario) as env:
        report["runs"] = [one_run(env, options.real) for _run in range(options.runs)]
    middle = report["median"] = medians(report["runs"])
    print(f"{middle['count']} GPUs, {report['node']}, backend {report['runs'][0]['backend']}")
    for key in ("imports", "facts", "process", "nvidia_smi"):
        if key in middle:
            print(f"  {key:<11}{middle[key] * 1e3:8.1f} ms")
    if options.real:
        print(f"  facts are {middle['facts_ratio']:.2f} of nvidia-smi -q -x, the process {middle['process_ratio']:.2f}")
    write(report, options.output)


if __name__ == "__main__":
    main()
