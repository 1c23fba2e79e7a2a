# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing and showing the report through the action plugin."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path
from unittest import mock

import jsonschema
import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import report
from ansible_collections.multigpu.vllm.plugins.action.diagnose import ActionModule as Diagnose
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import from_status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.formats import FORMATS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style
from ansible_collections.multigpu.vllm.tests.support.answers import recording
from ansible_collections.multigpu.vllm.tests.support.secret_forms import RANDOM_WORDS, TEXTS, planted

SCHEMA = Path(__file__).parents[4] / "docs/report.schema.json"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that the plugin displayed."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0, display=texts.append))
    return texts


@pytest.fixture
def arguments(run_action: t.Callable[..., dict], tmp_path: Path) -> dict[str, t.Any]:
    verdict = run_action(Diagnose, {"results": {}})
    return {"nodes": {"a": verdict, "b": {}}, "directory": str(tmp_path / "reports"), "options": {"key": "s3cret"}}


def test_report_writes_the_files_and_returns_their_paths(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    result = run_action(report.ActionModule, arguments)
    names = ["validation-report.txt", "report.html", "report.json"]
    assert result["files"] == [str(tmp_path / "reports" / name) for name in names]
    assert result["status"] == "fail"
    assert all(path in shown[0] for path in result["files"])
    document = json.loads((tmp_path / "reports/report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    assert document["hosts"]["b"]["reachable"] is False


def test_report_keeps_dated_reports_and_compares_with_the_last_one(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    folder, times = tmp_path / "reports", {"keep": 2}
    for day in range(3):
        result = run_action(report.ActionModule, {**arguments, **times, "begin": 86400.0 * day})
    assert result["files"][-1] == str(folder / "report.json")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "1970-01-02T000000Z",
        "1970-01-03T000000Z",
    ]
    assert f" Kept    {folder / '1970-01-03T000000Z'}" in shown[-1]
    assert "Since " not in shown[0]
    assert ": no change" in shown[-1]


@pytest.mark.parametrize(("cases", "different"), [(["tp1"], []), (["tp2", "zero", "tp1"], ["1"])])
def test_report_compares_answers_and_stores_those_of_the_majority_once(
    run_action: t.Callable[..., dict],
    arguments: dict,
    shown: list[str],
    tmp_path: Path,
    cases: list[str],
    different: list[str],
) -> None:
    node = {**arguments["nodes"]["a"]["node"], "status": "pass"}
    arguments["nodes"] = {
        str(number): {
            "node": node,
            "answers": {"identity": {"model": "m"}, "recording": recording(case), "source": "n", "trusted": True},
        }
        for number, case in enumerate(cases)
    }
    options = {**arguments, "output_dir": str(tmp_path / "references")}
    assert run_action(report.ActionModule, options, check_mode=True)["failed_by_comparison"] == different
    assert not (tmp_path / "references").exists()
    for _again in range(2):
        assert run_action(report.ActionModule, options)["failed_by_comparison"] == different
        (path,) = (tmp_path / "references").iterdir()
        assert json.loads(path.read_text("utf-8"))["recording"] == recording(cases[0])


@pytest.mark.parametrize(
    ("check_mode", "tags", "compared"), [(False, ["all"], True), (True, ["all"], False), (False, ["memory"], False)]
)
def test_report_is_compared_only_if_all_sections_were_to_be_measured(
    run_action: t.Callable[..., dict],
    arguments: dict,
    shown: list[str],
    check_mode: bool,
    tags: list[str],
    compared: bool,
) -> None:
    nodes = {"a": run_action(Diagnose, {"results": {}})}
    run_action(report.ActionModule, {**arguments, "nodes": nodes, "keep": 2, "begin": 0.0})
    nodes = {"a": run_action(Diagnose, {"results": {}, "tags": tags})}
    again = {**arguments, "nodes": nodes, "keep": 2, "begin": 86400.0}
    run_action(report.ActionModule, again, check_mode=check_mode)
    assert ("Since " in shown[-1]) is compared


def test_report_of_a_partial_run_does_not_replace_a_full_one(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    run_action(report.ActionModule, arguments)
    full = (tmp_path / "reports/report.json").read_text(encoding="utf-8")
    arguments["nodes"]["a"] = run_action(Diagnose, {"results": {}, "tags": ["memory", "nccl"]})
    result = run_action(report.ActionModule, {**arguments, "keep": 1, "begin": 0.0, "partial": ["--limit a"]})
    assert (tmp_path / "reports/report.json").read_text(encoding="utf-8") == full
    assert result["files"][-1] == str(tmp_path / "reports/1970-01-01T000000Z/report.json")
    line = next(line for line in shown[-1].splitlines() if "Partial run" in line)
    assert line.startswith("   Partial run: --limit a, without the sections GPU hardware,")


def test_report_is_never_changed(run_action: t.Callable[..., dict], arguments: dict, shown: list[str]) -> None:
    assert run_action(report.ActionModule, arguments)["changed"] is False


def test_report_writes_json_and_the_selected_formats(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    result = run_action(report.ActionModule, {**arguments, "formats": ["prometheus", "junit", "junit"]})
    written = ["report.json", "report.junit.xml", "report.prom"]
    assert [Path(path).name for path in result["files"]] == written
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == written


def test_report_without_a_package_writes_nothing(
    run_action: t.Callable[..., dict],
    arguments: dict,
    shown: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AnsibleActionFail, match="junit needs the Python package junitparser .*pip install"):
        run_action(report.ActionModule, {**arguments, "formats": ["json", "junit"]})
    assert not (tmp_path / "reports").exists()


def test_report_in_check_mode_shows_all_and_writes_nothing(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    result = run_action(report.ActionModule, arguments, check_mode=True)
    assert result["files"] == []
    assert not (tmp_path / "reports").exists()
    assert "Check mode" in shown[0]
    assert "GPU hardware" in shown[0]


def test_report_masks_secrets_in_files_and_terminal(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    arguments["nodes"]["a"]["node"]["headline"] = "refused key s3cret"
    run_action(report.ActionModule, {**arguments, "secrets": ["s3cret", None, ""]})
    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "reports").iterdir()]
    assert len(written) == 3
    assert not any("s3cret" in text for text in [*written, *shown])
    assert any("refused key ***" in text for text in shown)


def test_report_names_a_directory_not_writable_after_the_summary(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match="cannot write the report to .*file/reports"):
        run_action(report.ActionModule, {**arguments, "directory": str(tmp_path / "file/reports")})
    assert "2 nodes" in shown[0]
    assert "report.html" not in shown[0]


@pytest.mark.parametrize(("encoding", "symbol"), [("UTF-8", "✓"), ("utf8", "✓"), ("ascii", "+"), (None, "+")])
def test_terminal_style_depends_on_the_encoding(encoding: str | None, symbol: str) -> None:
    assert terminal_style(encoding).symbols["pass"] == symbol


def test_report_without_a_directory_is_an_error(run_action: t.Callable[..., dict]) -> None:
    with pytest.raises(AnsibleActionFail, match="missing required arguments"):
        run_action(report.ActionModule, {"nodes": {}})


@pytest.mark.parametrize(
    ("fail_on", "status", "nodes"),
    [
        ("fail", "fail", ["node-2", "node-7"]),
        ("warn", "fail", ["node-2"]),
        ("never", "fail", []),
        ("fail", "warn", []),
        ("warn", "warn", ["node-2"]),
    ],
)
def test_failed_by_comparison_applies_fail_on_like_the_verdict(fail_on: str, status: str, nodes: list[str]) -> None:
    statuses = {"node-2": "pass", "node-4": "fail", "node-7": "warn", "node-9": "fail"}
    findings = [
        {"check": "fleet.missing", "status": "fail", "evidence": {"node-9": ["lost"]}},
        {"check": "fleet.outlier", "status": status, "evidence": {"slow": {"node-7": {}, "node-4": {}, "node-2": {}}}},
        {"check": "fleet.outlier", "status": "pass", "evidence": {"group": "others"}},
    ]
    document = {
        "hosts": {name: {"status": host_status} for name, host_status in statuses.items()},
        "groups": {},
        "fleet": {"findings": findings},
    }
    assert report.failed_by_comparison(document, fail_on) == nodes


#: Places on a node that can contain a secret. Modules mask log lines and answers, in which they also mask random words,
#: and settings. The results of a node that masks nothing contain the others.
LINES = ("fault", "kernel", "answer")
PLACES = (*LINES, "launch", "flag", "environment", "message", "finding", "model", "process")


def node_with_secrets(text: str, number: int, folder: Path) -> dict[str, t.Any]:
    """Return the results of a node that has ``text`` with another secret in each place."""
    lines_only = text in RANDOM_WORDS
    at = {
        place: planted(text, secret_of(place, number)) if place in LINES or not lines_only else "nothing"
        for place in PLACES
    }
    vllm, kernel = folder / f"vllm-{number}.log", folder / f"kernel-{number}.log"
    vllm.write_text(
        "INFO 11-23 17:00:00 [api_server.py:1044] vLLM API server version 0.32.0\n"
        f"INFO 11-23 17:00:00 [utils.py:253] non-default args: {{'model': 'm', 'x': {at['launch']!r}}}\n"
        f"gpu-1:511:511 [0] NCCL INFO NCCL_DEBUG_FILE set by environment to {at['launch']}\n"
        f"ERROR 11-23 17:00:09 [core.py:866] {at['fault']} RuntimeError: NCCL error: unhandled cuda error\n"
        f"ERROR 11-23 17:00:09 [core.py:867] torch.OutOfMemoryError: CUDA out of memory. {at['fault']}\n"
    )
    kernel.write_text(f"[1.0] NVRM: Xid (PCI:0000:01:00): 79, pid=1, name=x {at['kernel']}\n")
    words = at["flag"].split() if re.match(r"--\w", text) else [at["flag"]]
    argv = ["python3", "vllm", "serve", "m", "--served-model-name", f"x {at['flag']}", *words]
    named = re.match(r"(\w+)=(.*)", at["environment"])
    variables = [("VLLM_X", at["environment"]), *([(f"VLLM_{named[1]}", named[2])] if named else [])]
    found = {"check": "hardware.driver", "status": "fail", "summary": at["finding"], "line": at["finding"]}
    return {
        "gpu": {"ansible_facts": {"gpu": {"count": 1, "devices": []}}, "findings": [{**found, "evidence": found}]},
        "tensor_parallel": {
            "vllm_version": at["model"],
            "model": {"id": at["model"]},
            "signals": [{"name": "command_line", "value": 1, "source": at["process"]}],
            "arguments": engine_args.parse(argv),
            "environment": engine_args.mask_environment(variables),
            "findings": [],
        },
        "load": {"failed": True, "msg": f"{at['message']} {from_status(500, json.dumps({'message': at['answer']}))}"},
        "logs": log_scan.run({"paths": [str(vllm)], "kernel_paths": [str(kernel)]}),
    }


def secret_of(place: str, number: int) -> str:
    return f"Zq7{place}{number:03}XE9Lm2PwV4tR"


def test_report_contains_no_planted_secret_in_any_format(
    run_action: t.Callable[..., dict], shown: list[str], tmp_path: Path
) -> None:
    """Plant each form in each place, and search all report formats and the terminal."""
    verdicts = {
        f"node-{number}": run_action(Diagnose, {"results": node_with_secrets(text, number, tmp_path)})
        for number, text in enumerate(TEXTS + RANDOM_WORDS)
    }
    run_action(report.ActionModule, {"nodes": verdicts, "directory": str(tmp_path / "out"), "formats": list(FORMATS)})

    texts = {path.name: path.read_text("utf-8").casefold() for path in (tmp_path / "out").iterdir()}
    headlines = [f"{verdict['headline']} {verdict['failed_checks']}" for verdict in verdicts.values()]
    texts["terminal"] = "\n".join([*shown, *headlines]).casefold()
    assert len(texts) == len(FORMATS) + 1
    found = [
        (name, place, number)
        for name, text in texts.items()
        for place in PLACES
        for number in range(len(verdicts))
        if secret_of(place, number).casefold() in text
    ]
    assert found == []
    document = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    for name, node in document["hosts"].items():
        items = [item for section in node["sections"] for item in section["findings"]]
        assert {"memory.oom", "nccl.errors", "hardware.xid"} <= {item["check"] for item in items}, name
        assert "CUDA out of memory." in json.dumps(node["diagnoses"]), name
