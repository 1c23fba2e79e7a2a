# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing the results of a benchmark and its baselines."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from unittest import mock

import jsonschema
import pytest
import referencing
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.benchmark_judge import ActionModule as Judge
from ansible_collections.multigpu.vllm.plugins.action.benchmark_report import ActionModule
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

Json = dict[str, t.Any]
DOCS = Path(__file__).parents[4] / "docs"


def load(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return a validator for a schema of docs/, which may refer to other schemas there."""
    schemas = [load(path) for path in DOCS.glob("*.schema.json")]
    registry = referencing.Registry().with_resources(
        (schema["$id"], referencing.Resource.from_contents(schema)) for schema in schemas
    )
    return jsonschema.Draft202012Validator(load(DOCS / name), registry=registry)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that the plugin displayed."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(display=texts.append))
    return texts


@pytest.fixture
def bench(run_action: t.Callable[..., Json], shown: list[str], tmp_path: Path) -> t.Callable[..., Json]:
    """Return ``bench({name: results}, **options)``, which judges and reports nodes; None is a missing node."""
    common = {"baseline_dir": str(tmp_path / "baselines")}
    targets = {"ttft": 2.0, "itl": 0.1}

    def run(nodes: dict[str, Json | None], *, check_mode: bool = False, **options: t.Any) -> Json:
        judged = {
            name: run_action(Judge, {"results": results, "targets": targets, **common}, host=name)
            if results is not None
            else {}
            for name, results in nodes.items()
        }
        arguments = {"nodes": judged, "path": str(tmp_path / "r.json"), "options": {"targets": targets}}
        return run_action(ActionModule, arguments | common | options, check_mode=check_mode)

    return run


@pytest.mark.parametrize("name", ["benchmark-results.schema.json", "benchmark-baseline.schema.json"])
def test_benchmark_schema_is_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(load(DOCS / name))


def test_benchmark_results_match_the_schema(bench: t.Callable[..., Json], tmp_path: Path) -> None:
    bench({"steady": sweep_results(), "slower": sweep_results(), "grown": sweep_results(concurrency=[1])})
    skipped = sweep_results(1.0, 1)
    for step in skipped["load"]["results"]:
        if step["requested"]["prompt_tokens"] == 1024:
            step.update(skipped="too long", output_throughput=None, request_throughput=None, goodput=None)
            step.update(within_targets=None, ttft=None, itl=None, duration=None)
    result = bench(
        {
            "steady": skipped,
            "slower": sweep_results(0.8, 1),
            "grown": sweep_results(1.0, 1),
            "unmeasured": {},
            "lost": None,
        }
    )
    document = load(tmp_path / "r.json")
    validator("benchmark-results.schema.json").validate(document)
    assert result["status"] == "fail"
    assert {name: node["status"] for name, node in document["nodes"].items()} == {
        "steady": "pass",
        "slower": "fail",
        "grown": "pass",
        "unmeasured": "fail",
        "lost": "fail",
    }


def test_benchmark_schema_rejects_an_invalid_document(bench: t.Callable[..., Json], tmp_path: Path) -> None:
    bench({"a": sweep_results()})
    document = load(tmp_path / "r.json")
    document["nodes"]["a"]["findings"][0]["status"] = "fine"
    assert not validator("benchmark-results.schema.json").is_valid(document)


def test_benchmark_baselines_match_the_schema_and_are_one_per_node(
    bench: t.Callable[..., Json], tmp_path: Path
) -> None:
    bench({"a": sweep_results(), "b": sweep_results(1.1, 1)})
    stored = sorted((tmp_path / "baselines").iterdir())
    assert [path.name.partition("--")[0] for path in stored] == ["a", "b"]
    for path in stored:
        validator("benchmark-baseline.schema.json").validate(load(path))
    nodes = load(tmp_path / "r.json")["nodes"]
    assert [nodes[name]["stored_baseline"] for name in "ab"] == list(map(str, stored))


def test_benchmark_report_keeps_the_baseline_until_updated(bench: t.Callable[..., Json], tmp_path: Path) -> None:
    bench({"a": sweep_results()})
    (path,) = (tmp_path / "baselines").iterdir()
    before = path.read_bytes()
    bench({"a": sweep_results(0.8, 1)})
    assert path.read_bytes() == before
    assert load(tmp_path / "r.json")["nodes"]["a"]["stored_baseline"] is None
    bench({"a": sweep_results(0.8, 1)}, update_baseline=True)
    assert path.read_bytes() != before


def test_benchmark_report_shows_tables_and_path(bench: t.Callable[..., Json], shown: list[str], tmp_path: Path) -> None:
    result = bench({"a": sweep_results()})
    assert result["files"] == [str(tmp_path / f"r.{suffix}") for suffix in ("json", "md", "html")]
    assert result["changed"] is False
    assert "TTFT, ms" in shown[-1]
    assert shown[-1].endswith(str(tmp_path / "r.html"))


def test_benchmark_report_in_check_mode_writes_nothing(
    bench: t.Callable[..., Json], shown: list[str], tmp_path: Path
) -> None:
    assert bench({"a": sweep_results()}, check_mode=True)["files"] == []
    assert not list(tmp_path.iterdir())
    assert "Check mode" in shown[-1]


def test_benchmark_report_names_a_directory_not_writable(bench: t.Callable[..., Json], tmp_path: Path) -> None:
    (tmp_path / "baselines").write_text("a file", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match="cannot write .*baselines"):
        bench({"a": sweep_results()})
