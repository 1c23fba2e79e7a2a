# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what ``program.py`` printed: a verdict for each layer of the access between GPUs.

Verdicts: ``pass``; ``corrupts``, wrong data; ``hangs``, no answer before the deadline; ``fails``, an error; ``slow``;
``inconclusive``, all-reduce also goes wrong without peer access; ``unsupported``, the driver does not offer access;
``not_tested``. Only ``pass`` and ``slow`` mean that the data was right.
"""

from __future__ import annotations

import itertools
import statistics
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.units import KIB, MIB, gb_per_second

CHECK: t.Final = "hardware.peer_data"
#: NCCL settings: both message classes, with and without peer access. LL sends small messages and Simple large ones
#: (NCCL documentation, NCCL_PROTO).
ARMS: t.Final[dict[str, dict[str, str]]] = {
    "LL": {"NCCL_PROTO": "LL"},
    "Simple": {"NCCL_PROTO": "Simple"},
    "control LL": {"NCCL_PROTO": "LL", "NCCL_P2P_DISABLE": "1"},
    "control Simple": {"NCCL_PROTO": "Simple", "NCCL_P2P_DISABLE": "1"},
}
#: Fraction of the median bandwidth of all directions below which a direction is slow. Healthy pairs of one host differ
#: by up to a factor of two (13.2 and 6.5 GB/s on two pairs with the path PHB; club-3090, docs/PCIE_P2P.md).
SLOW: t.Final = 0.45
#: Verdicts from best to worst.
ORDER: t.Final = ("pass", "slow", "unsupported", "not_tested", "inconclusive", "fails", "hangs", "corrupts")
#: Verdicts that disprove a path.
BAD: t.Final = ("corrupts", "hangs", "fails")
#: What keeps vLLM from access between GPUs. Without the second part vLLM still hangs in its own all-reduce although
#: NCCL does not use the access (vLLM issue 51513).
WITHOUT_PEER_ACCESS: t.Final[dict[str, str]] = {
    "NCCL_P2P_DISABLE": "1",
    "VLLM_ALLREDUCE_USE_FLASHINFER": "0",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC": "0",
}

Row = Mapping[str, t.Any]
Verdict = dict[str, t.Any]


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst verdict, or ``not_tested`` without any."""
    return max(verdicts, key=ORDER.index, default="not_tested")


def outcome(rows: Sequence[Row], sizes: Sequence[int]) -> tuple[str, str | None]:
    """Return the verdict on the rows of one test, and a description of the fault if there is one."""
    for row in rows:
        at = f"at {_size(row['bytes'])}" if "bytes" in row else ""
        if "hangs" in row:
            silent = ", ".join(map(str, row["hangs"]))
            return "hangs", f"GPU {silent} gave no answer {at}".rstrip()
        if row.get("wrong"):
            wrong = f"{row['wrong']} of {row['pages']} pages of 4 KiB are wrong {at}"
            return "corrupts", f"{wrong}, the first from byte {row['first_wrong']}: {row['read']} for {row['written']}"
        if "error" in row:
            return "fails", str(row["error"])
        if "not_run" in row:
            return "not_tested", str(row["not_run"])
    complete = {row.get("bytes") for row in rows} >= set(sizes)
    return ("pass", None) if complete else ("not_tested", "the test did not finish")


def pairs_of(rows: Sequence[Row], gpus: Sequence[int], sizes: Sequence[int]) -> list[Verdict]:
    """Return verdict, bandwidth (bytes/s) and latency (s) for each ordered pair of GPUs."""
    result = []
    for sender, owner in itertools.permutations(gpus, 2):
        own = [row for row in rows if (row.get("from"), row.get("to")) == (sender, owner)]
        result.append({"from": sender, "to": owner, **_pair(own, sizes)})
    for method in ("copy", "write"):
        measured = [pair[f"{method}_bandwidth"] for pair in result if pair[f"{method}_bandwidth"]]
        usual = statistics.median(measured) if measured else 0.0
        for pair in result:
            bandwidth = pair[f"{method}_bandwidth"]
            if bandwidth and bandwidth < SLOW * usual and pair[f"{method}_verdict"] == "pass":
                pair[f"{method}_verdict"] = "slow"
                pair["seen"] = (
                    pair["seen"] or f"{gb_per_second(bandwidth)}, half of all directions reach {gb_per_second(usual)}"
                )
    return result


def _pair(rows: Sequence[Row], sizes: Sequence[int]) -> Verdict:
    driver = next((row for row in rows if row["test"] == "driver"), {})
    offered = driver.get("offered")
    pair: Verdict = {"offered": offered, "seen": driver.get("error")}
    for method in ("copy", "write"):
        speed = next((row for row in rows if row["test"] == f"{method}_speed"), {})
        verdict, seen = outcome([row for row in rows if row["test"] == method], sizes)
        if not offered:
            verdict, seen = ("unsupported" if offered is False else "not_tested"), None
        elif verdict == "pass" and "bandwidth" not in speed:
            verdict, seen = outcome([speed], []) if speed else ("not_tested", "the speed was not measured")
        pair |= {f"{method}_verdict": verdict, f"{method}_bandwidth": speed.get("bandwidth")}
        pair |= {f"{method}_latency": speed.get("latency")}
        pair["seen"] = pair["seen"] or seen
    return pair


def groups_of(rows: Sequence[Row], gpus: Sequence[int], sizes: Sequence[int]) -> list[Verdict]:
    """Return the verdict on all-reduce over each group of GPUs that was tested, with the results of its arms."""
    groups = sorted(
        {tuple(row["ranks"]) for row in rows if row["test"] == "all_reduce"}, key=lambda item: (len(item), item)
    )
    if tuple(gpus) not in groups:
        groups.append(tuple(gpus))
    return [_group(rows, list(group), sizes) for group in groups]


def _group(rows: Sequence[Row], group: list[int], sizes: Sequence[int]) -> Verdict:
    arms, seen = {}, {}
    for arm in ARMS:
        start = [row for row in rows if row["test"] == "nccl" and row["arm"] == arm and "version" not in row]
        own = [row for row in rows if row["test"] == "all_reduce" and row["arm"] == arm and row["ranks"] == group]
        arms[arm], seen[arm] = outcome([*start, *own], sizes)
    tested = [arm for arm in ARMS if not arm.startswith("control")]
    verdict = worst(arms[arm] for arm in tested)
    if verdict in BAD and any(arms[f"control {arm}"] != "pass" for arm in tested if arms[arm] in BAD):
        verdict = "inconclusive"
    if verdict == "pass" and not any(row["test"] == "end" for row in rows):
        verdict, seen = "not_tested", {"end": "the test did not finish"}
    return {"gpus": group, "verdict": verdict, "arms": arms, "seen": next(filter(None, seen.values()), None)}


def layers_of(pairs: Sequence[Verdict], groups: Sequence[Verdict]) -> dict[str, str]:
    """Return the verdict on each layer.

    ``custom_all_reduce`` is what vLLM's custom all-reduce needs: kernels that write into the memory of another process.
    """
    offers = {True: "pass", False: "unsupported", None: "not_tested"}
    return {
        "driver": worst(offers[pair["offered"]] for pair in pairs),
        "copies": worst(pair["copy_verdict"] for pair in pairs),
        "custom_all_reduce": worst(pair["write_verdict"] for pair in pairs),
        "nccl": worst(group["verdict"] for group in groups),
    }


def verdict_of(pairs: Sequence[Verdict], groups: Sequence[Verdict]) -> str:
    """Return the worst verdict on any pair or group."""
    verdicts = [pair[f"{method}_verdict"] for pair in pairs for method in ("copy", "write")]
    return worst([*verdicts, *(group["verdict"] for group in groups)])


def finding(pairs: Sequence[Verdict], groups: Sequence[Verdict]) -> Finding:
    """Return the ``hardware.peer_data`` finding, which names the GPUs of the worst verdict."""
    named = [
        (f"GPU {pair['from']} to GPU {pair['to']}", worst((pair["copy_verdict"], pair["write_verdict"])), pair["seen"])
        for pair in pairs
    ]
    for group in groups:
        gpus = ", ".join(map(str, group["gpus"]))
        named.append((f"all-reduce over GPUs {gpus}", group["verdict"], group["seen"]))
    verdict = verdict_of(pairs, groups)
    where = [(name, seen) for name, value, seen in named if value == verdict]
    evidence = {"where": [name for name, _seen in where], "seen": [seen for _name, seen in where if seen][:3]}
    if verdict in ("pass", "unsupported"):
        access = "" if verdict == "pass" else "; the driver offers no peer access"
        return passed(CHECK, f"all data between the GPUs was right{access}", evidence={})
    if verdict == "not_tested":
        reason = evidence["seen"][0] if evidence["seen"] else "the test did not finish"
        return not_tested(CHECK, f"{where[0][0]}: {reason}")
    fault = FAULTS[f"peer_{verdict}"]
    others = f" and {len(where) - 1} more" if len(where) > 1 else ""
    judged = failed if verdict in (*BAD, "inconclusive") else warned
    summary = f"{fault.summary}: {where[0][0]}{others}"
    return judged(CHECK, summary, evidence=evidence, cause=fault.cause, remedy=fault.remedy)


def settings(layers: Mapping[str, str], groups: Sequence[Verdict]) -> dict[str, t.Any]:
    """Return the environment variables and arguments of vLLM that avoid access between GPUs, if any layer is bad.

    They are empty if all-reduce also goes wrong without this access, because no setting avoids the fault then.
    """
    bad = any(layers[layer] in BAD for layer in ("copies", "custom_all_reduce", "nccl"))
    controls = (verdict for group in groups for arm, verdict in group["arms"].items() if arm.startswith("control"))
    bad = bad and not any(verdict in BAD for verdict in controls)
    arguments = ["--disable-custom-all-reduce"] if bad else []
    return {"environment": dict(WITHOUT_PEER_ACCESS) if bad else {}, "arguments": arguments}


def _size(count: int) -> str:
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"
