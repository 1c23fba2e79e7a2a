# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all phases on a node with real GPUs; see ``run.sh``."""

from __future__ import annotations

import json
import os
import platform
import sys
import tarfile
import tempfile
import time
import traceback
import typing as t
from pathlib import Path

import fields
import interconnect
import traces
import whole
from loads import LOADS
from node import ROOT, output_of, run_module, seconds_of, spread

HERE = Path(__file__).resolve().parent
REPEATS = 9
TRACE_SECONDS = float(os.environ.get("TRACE_SECONDS", "8"))

#: Times the module's work without Python's start-up: open NVML, read everything, close NVML.
INSIDE = """
import time
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.facts import run
options = dict(expected_count=None, plan_gpus=None, instance_type=None, gather_subset=["all"], backend="nvml")
begun = time.perf_counter()
run(options)
print(time.perf_counter() - begun)
"""

#: Profiles that work: seconds and number of calls by NVML function.
PROFILE = """
import collections, json, time
import pynvml
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader
spent = collections.defaultdict(lambda: [0.0, 0])
class Timed:
    def __getattr__(self, name):
        value = getattr(pynvml, name)
        if not name.startswith("nvml"):
            return value
        def call(*args):
            begun = time.perf_counter()
            try:
                return value(*args)
            finally:
                spent[name][0] += time.perf_counter() - begun
                spent[name][1] += 1
        return call
reader = NvmlReader(Timed())
reader.devices(SUBSETS)
reader.topology()
reader.close()
print(json.dumps(dict(sorted(spent.items(), key=lambda item: -item[1][0]))))
"""

Results = dict[str, t.Any]


class Session:
    """State shared by the phases: results, directories, facts of the GPUs."""

    def __init__(self, out: Path, work: Path) -> None:
        self.out, self.work, self.recordings = out, work, work / "recordings"
        self.recordings.mkdir()
        self.results: Results = {"machine": machine(), "seconds": {}, "errors": {}}
        self.facts = run_module("gpu_facts", {"backend": "nvml"})["ansible_facts"]["gpu"]
        self.build = interconnect.start_build(work)

    def phase(self, name: str) -> None:
        """Run a phase and save the results; an error does not affect other phases."""
        begun = time.monotonic()
        try:
            self.results[name] = PHASES[name](self)
        except Exception:  # noqa: BLE001 a failed phase is reported and the others still run
            self.results["errors"][name] = traceback.format_exc()
            print(self.results["errors"][name])
        self.results["seconds"][name] = time.monotonic() - begun
        print(f"phase {name}: {self.results['seconds'][name]:.1f} s", flush=True)
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1, default=str) + "\n")


def machine() -> Results:
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "gpus": gpus,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if gpus else None,
        "multicast": {name: os.environ.get(name) for name in ("NCCL_NVLS_ENABLE", "TORCH_SYMM_MEM_DISABLE_MULTICAST")},
    }


def fields_idle(session: Session) -> Results:
    comparison = fields.compare()
    (session.recordings / "nvidia-smi-idle.xml").write_text(comparison.pop("document"))
    return comparison


def under_load(session: Session) -> Results:
    """Compare fields, PCIe link and throttle reasons while the GPUs are at their power limit."""
    count = session.facts["count"]
    with traces.running("prefill", min(count, 2)):
        time.sleep(5)
        comparison = fields.compare()
        (session.recordings / "nvidia-smi-load.xml").write_text(comparison.pop("document"))
        capture(session.recordings / "nvml-load")
        comparison["sampling"] = sampling()
    return comparison


def capture(folder: Path) -> str:
    return output_of(sys.executable, str(ROOT / "scripts/capture_nvml.py"), "--out", str(folder))


def fixtures(session: Session) -> Results:
    return {"output": capture(session.recordings / "nvml-idle")}


def copy(session: Session) -> Results:
    output = output_of(sys.executable, str(HERE / "memory_copy.py"))
    measured = json.loads(output.strip().splitlines()[-1])
    formula = [device["memory_bandwidth"] for device in session.facts["devices"]]
    return {
        "measured": measured,
        "formula": formula,
        "share": [rate["median"] / theory for rate, theory in zip(measured, formula, strict=True)],
    }


def built(session: Session) -> Results:
    if session.build is None:
        return {"program": interconnect.program(session.work)}
    code = session.build.wait(timeout=400)
    log = (session.work / "build.log").read_text()
    print(log[-1500:])
    return {"code": code, "log": log[-4000:], "program": interconnect.program(session.work)}


def timing(_session: Session) -> Results:
    """Run the module and nvidia-smi alternately, so that both run under the same conditions."""
    module, inside, smi = [], [], []
    for _repeat in range(REPEATS):
        module.append(run_module("gpu_facts", {"backend": "nvml"})["wall"])
        inside.append(float(output_of(sys.executable, "-c", INSIDE)))
        smi.append(seconds_of(lambda: output_of("nvidia-smi", "-q", "-x")))
    figures: Results = {"module": spread(module), "inside": spread(inside), "nvidia_smi": spread(smi)}
    figures["ratio_module"] = figures["module"]["median"] / figures["nvidia_smi"]["median"]
    figures["ratio_inside"] = figures["inside"]["median"] / figures["nvidia_smi"]["median"]
    figures["start_of_python"] = spread(
        [seconds_of(lambda: output_of(sys.executable, "-c", "")) for _repeat in range(5)]
    )
    figures["profile"] = json.loads(output_of(sys.executable, "-c", PROFILE).strip().splitlines()[-1])
    return figures


def sampling(_session: Session | None = None) -> Results:
    rates = {}
    for hertz in (10, 20, 50):
        output = output_of(sys.executable, str(HERE / "sampling.py"), str(1 / hertz), "5")
        rates[str(hertz)] = json.loads(output.strip().splitlines()[-1])
    return rates


def trace(session: Session) -> Results:
    """Record every load with the sampler and judge it as a server with two GPUs."""
    phase_results: Results = {"idle": judge_recording(session, "idle", traces.record(3), 2, "idle: no load")}
    for name, load in LOADS.items():
        ranks = min(load.ranks, session.facts["count"])
        if ranks < load.ranks:
            phase_results[name] = {"skipped": f"needs {load.ranks} GPUs"}
            continue
        try:
            with traces.running(name, ranks) as files:
                time.sleep(2)
                recording = traces.record(TRACE_SECONDS)
                speed = traces.steps_per_second(files[0])
        except RuntimeError as error:
            phase_results[name] = {"error": str(error)}
            continue
        phase_results[name] = {"steps_per_second": speed, **judge_recording(session, name, recording, 2, load.label)}
    if session.facts["count"] > 1:
        label = "another process computes on GPU 1, so GPU 0 waits for it in NCCL"
        with traces.running("decode", 2) as files, traces.running("one_gpu", 1, {"CUDA_VISIBLE_DEVICES": "1"}):
            time.sleep(2)
            recording = traces.record(TRACE_SECONDS)
            speed = traces.steps_per_second(files[0])
        phase_results["neighbour"] = {
            "steps_per_second": speed,
            **judge_recording(session, "neighbour", recording, 2, label),
        }
    return phase_results


def judge_recording(session: Session, name: str, recording: Results, size: int, label: str) -> Results:
    document = {
        "label": label,
        "group_size": size,
        "gpu": session.results["machine"]["gpus"],
        **traces.columns(recording),
    }
    (session.recordings / f"trace-{name}.json").write_text(json.dumps(document))
    facts = run_module("gpu_facts", {"backend": "nvml"})["ansible_facts"]["gpu"]
    findings = traces.judge(recording, facts, size)
    means = {
        key: [gpu[key] and round(gpu[key]["mean"], 1) for gpu in recording["summary"]]
        for key in ("utilization_gpu", "power_draw", "clocks_sm", "memory_used")
    }
    return {
        "label": label,
        "means": means,
        "memory_busy": busy_memory(recording),
        "synchronisation": recording["synchronisation"],
        "findings": findings,
    }


def busy_memory(recording: Results) -> list[float]:
    samples = recording["samples"]
    count = len(samples[0]["gpus"])
    return [
        round(sum(s["gpus"][index]["utilization_memory"] or 0 for s in samples) / len(samples), 1)
        for index in range(count)
    ]


def nccl(session: Session) -> Results:
    count = min(session.facts["count"], 2)
    if count < 2:
        return {"skipped": "needs 2 GPUs"}
    phase_results: Results = {"torch": interconnect.logs_of_torch(count, session.recordings)}
    if interconnect.program(session.work):
        phase_results["logs"] = interconnect.logs_of_tests(session.work, count, session.recordings)
        phase_results["module"] = interconnect.module(session.work, count)
    return phase_results


def validated(session: Session) -> Results:
    return whole.run(session.work, session.out, session.facts["count"])


PHASES: dict[str, t.Callable[[Session], Results]] = {
    "fields": fields_idle,
    "fixtures": fixtures,
    "copy": copy,
    "built": built,
    "timing": timing,
    "sampling": sampling,
    "load": under_load,
    "nccl": nccl,
    "trace": trace,
    "whole": validated,
}


def report(results: Results) -> str:
    """Return the results as readable text."""
    lines = [json.dumps(results["machine"])]
    for phase in ("fields", "load"):
        rows = results.get(phase, {}).get("fields", [])
        verdicts = [row["verdict"].split()[0] for row in rows]
        lines.append(
            f"\n{phase}: {len(rows)} fields: " + ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        )
        lines += [
            f"  gpu {row['gpu']} {row['field']}: {row['ours']} / {row['nvidia_smi']}: {row['verdict']}"
            for row in rows
            if row["verdict"] != "equal"
        ]
    for key in ("copy", "timing", "sampling"):
        lines.append(f"\n{key}: {json.dumps(results.get(key), indent=1)}")
    lines.append(f"\nsampling under load: {json.dumps(results.get('load', {}).get('sampling'), indent=1)}")
    for name, entry in results.get("trace", {}).items():
        lines.append(f"\ntrace {name}: {entry.get('label')} steps/s {entry.get('steps_per_second')}")
        lines.append(f"  {entry.get('means')} memory busy {entry.get('memory_busy')} {entry.get('synchronisation')}")
        lines += [f"  {item['status']:10} {item['check']}: {item['summary']}" for item in entry.get("findings", ())]
        lines += [f"  {entry[key]}" for key in ("error", "skipped") if key in entry]
    for name, entry in results.get("whole", {}).items():
        lines.append(
            f"\nwhole {name}: {entry['seconds']:.0f} s, {entry['headline']}; steps {json.dumps(entry['server'])}"
        )
        lines += [f"  diagnosis {cause['id']}: {cause['title']}. {cause['cause']}" for cause in entry["diagnoses"]]
        lines += [f"  {step}: {json.dumps(figures)}" for step, figures in entry["steps"].items()]
        lines += [f"  {item['status']:10} {item['check']}: {item['summary']}" for item in entry["findings"]]
    nccl_results = results.get("nccl", {})
    module = {key: nccl_results.get("module", {}).get(key) for key in ("bandwidth", "errors", "findings", "msg")}
    lines.append(f"\nnccl module: {json.dumps(module, indent=1)}")
    for kind in ("torch", "logs"):
        for name, entry in nccl_results.get(kind, {}).items():
            outcome = entry.get("bus_bandwidth") or entry.get("code")
            lines.append(f"  {kind} {name}: {outcome} {entry.get('transports')} healthy {entry.get('healthy')}")
    lines.append(f"\nseconds: {results['seconds']}\nerrors: {list(results['errors'])}")
    return "\n".join(lines) + "\n"


def main() -> None:
    out, wanted = Path(sys.argv[1]), sys.argv[2:] or list(PHASES)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(out, Path(folder))
        try:
            for name in wanted:
                session.phase(name)
        finally:
            if session.build and session.build.poll() is None:
                session.build.kill()
            with tarfile.open(out / "recordings.tar.gz", "w:gz") as pack:
                pack.add(session.recordings, "recordings")
            (out / "report.txt").write_text(report(session.results))
            print(report(session.results))


if __name__ == "__main__":
    main()
