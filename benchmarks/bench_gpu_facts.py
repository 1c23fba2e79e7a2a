# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the run time of gpu_facts on a simulated node with eight GPUs. ``make test-gpu`` does it on real GPUs.

``facts`` is the time inside the module, from opening NVML to the findings; ``imports`` is the time for imports before
it; ``process`` is the run time of the whole process, as on a node::

    .venv/bin/python benchmarks/bench_gpu_facts.py --runs 10 --output .cache/bench/gpu_facts.json
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator

from common import ROOT, Figures, arguments, machine, measure, medians, run_module, write_json

SIMULATOR = ROOT / "roles/simulated_node/files/simulator/simulate.py"
#: Times the parts of the module in a separate process, because the module does not report them.
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
    """Run a node of ``scenario``; yields the environment in which modules find its GPUs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, SIMULATOR]
        started = measure([*command, "start", "--scenario", scenario, "--dir", folder, "--port", "0"], keep=True)
        try:
            if started.status:
                raise SystemExit(f"the simulated node did not start: {started.errors}{started.output}")
            yield {"LD_LIBRARY_PATH": f"{folder}/lib"}
        finally:
            measure([*command, "stop", "--dir", folder])


def one_run(env: dict[str, str]) -> Figures:
    """Return the seconds of each part."""
    timed = measure([sys.executable, "-c", TIMED], env)
    if timed.status:
        raise SystemExit(timed.errors)
    parts = json.loads(timed.output)
    gpu = parts.pop("gpu")
    _result, cost = run_module("gpu_facts", {}, env)
    whole = {"process": cost.wall, "cpu": cost.cpu, "memory": cost.memory}
    return parts | whole | {"count": gpu["count"], "backend": gpu["backend"]}


def main() -> None:
    parser = arguments(__doc__, runs=10)
    parser.add_argument("--scenario", default="healthy-tp8")
    options = parser.parse_args()
    report: Figures = {"machine": machine(), "node": options.scenario}
    with simulated_node(options.scenario) as env:
        report["runs"] = [one_run(env) for _run in range(options.runs)]
    median = report["median"] = medians(report["runs"])
    print(f"{median['count']:.0f} GPUs, {report['node']}, backend {report['runs'][0]['backend']}")
    for key in ("imports", "facts", "process"):
        print(f"  {key:<11}{median[key] * 1e3:8.1f} ms")
    write_json(report, options.output)


if __name__ == "__main__":
    main()
