# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing and showing the report through the action plugin."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from unittest import mock

import jsonschema
import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import report
from ansible_collections.multigpu.vllm.plugins.action.diagnose import ActionModule as Diagnose
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import terminal_style

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
        "fleet": {"findings": findings},
    }
    assert report.failed_by_comparison(document, fail_on) == nodes
