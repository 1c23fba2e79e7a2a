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

SCHEMA = Path(__file__).parents[4] / "docs/report.schema.json"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the plugin put on the terminal."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0, display=texts.append))
    return texts


@pytest.fixture
def arguments(run_action: t.Callable[..., dict], tmp_path: Path) -> dict[str, t.Any]:
    verdict = run_action(Diagnose, {"results": {}})
    return {"nodes": {"a": verdict, "b": {}}, "directory": str(tmp_path / "reports"), "options": {"key": "s3cret"}}


def test_writes_the_files_and_names_them(
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


def test_a_report_changes_nothing_on_the_node(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str]
) -> None:
    assert run_action(report.ActionModule, arguments)["changed"] is False


def test_writes_the_document_and_the_wanted_formats(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    result = run_action(report.ActionModule, {**arguments, "formats": ["prometheus", "junit", "junit"]})
    written = ["report.json", "report.junit.xml", "report.prom"]
    assert [Path(path).name for path in result["files"]] == written
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == written


def test_a_missing_library_is_named_before_anything_is_written(
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


def test_check_mode_shows_and_writes_nothing(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    result = run_action(report.ActionModule, arguments, check_mode=True)
    assert result["files"] == []
    assert not (tmp_path / "reports").exists()
    assert "Check mode" in shown[0]
    assert "GPU hardware" in shown[0]


def test_secrets_reach_neither_files_nor_terminal(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    arguments["nodes"]["a"]["node"]["headline"] = "refused key s3cret"
    run_action(report.ActionModule, {**arguments, "secrets": ["s3cret", None, ""]})
    written = [path.read_text(encoding="utf-8") for path in (tmp_path / "reports").iterdir()]
    assert len(written) == 3
    assert not any("s3cret" in text for text in [*written, *shown])
    assert any("refused key ***" in text for text in shown)


def test_a_directory_that_cannot_be_made_is_named_after_the_summary(
    run_action: t.Callable[..., dict], arguments: dict, shown: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match="cannot write the report to .*file/reports"):
        run_action(report.ActionModule, {**arguments, "directory": str(tmp_path / "file/reports")})
    assert "2 nodes" in shown[0]
    assert "report.html" not in shown[0]


@pytest.mark.parametrize(("encoding", "symbol"), [("UTF-8", "✓"), ("utf8", "✓"), ("ascii", "+"), (None, "+")])
def test_symbols_that_the_terminal_can_show(encoding: str | None, symbol: str) -> None:
    assert report.terminal_style(encoding).symbols["pass"] == symbol


def test_wrong_options_are_refused(run_action: t.Callable[..., dict]) -> None:
    with pytest.raises(AnsibleActionFail, match="missing required arguments"):
        run_action(report.ActionModule, {"nodes": {}})


def test_outliers_are_named_for_the_play() -> None:
    findings = [
        {"check": "fleet.missing", "evidence": {"node-9": ["lost"]}},
        {"check": "fleet.outlier", "evidence": {"slow": {"node-7": {}, "node-2": {}}}},
        {"check": "fleet.outlier", "evidence": {"group": "others"}},
    ]
    assert report.outliers(findings) == ["node-2", "node-7"]
