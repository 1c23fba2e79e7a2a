# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace each value in the results of a node by invalid ones: no other node of the fleet loses its report."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import jsonschema
import pytest
from ansible_collections.multigpu.vllm.plugins.action import report
from ansible_collections.multigpu.vllm.plugins.action.diagnose import ActionModule as Diagnose
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import document as report_documents
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.formats import FORMATS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import checked_result
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

SCHEMA: t.Final = json.loads((Path(__file__).parents[4] / "docs/report.schema.json").read_text(encoding="utf-8"))
RUN: t.Final = {
    "time": "2026-11-23T17:00:00+00:00",
    "collection_version": "0.1.0",
    "ansible_version": "2.19.4",
    "check_mode": False,
    "options": {},
}
REMOVED: t.Final = object()
INVALID: t.Final[dict[str, t.Any]] = {
    "null": None,
    "text": "x",
    "integer": 7,
    "bool": True,
    "nan": float("nan"),
    "infinity": float("inf"),
    "negative": -1,
    "huge": 10**300,
    "tiny": 5e-324,
    "empty": "",
    "escape": "\x1b[2J\x9b2J\x07\r",
    "bidi": "\u202egnp.exe\u2066\u061c",
    "surrogate": "\ud800",
    "nested": [[[[1], {"a": None}]]],
    "dict": {"a": 1},
    "removed": REMOVED,
}
#: Each value is replaced by one in this number of kinds, each kind in one in this number of values.
STEP: t.Final = 1 if os.environ.get("MULTIGPU_NIGHTLY") else 3
#: One in this number of mutations is rendered in every format.
RENDERED: t.Final = 11

Results = dict[str, t.Any]
ResultPath = tuple[str | int, ...]


def without_references(schema: t.Any) -> t.Any:
    """Return ``schema`` with its definitions in place of the references. Following those takes half of a validation."""
    if isinstance(schema, list):
        return [without_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    own = {key: without_references(value) for key, value in schema.items() if key != "$ref"}
    if "$ref" not in schema:
        return own
    assert own.keys() <= {"description"}, "another key could replace one of the definition"
    return without_references(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")])


def recorded(scenario: str) -> Results:
    text = (FIXTURES / "results" / f"{scenario}.json").read_text(encoding="utf-8")
    return t.cast("Results", json.loads(text))


def paths(value: t.Any, start: ResultPath = ()) -> Iterator[ResultPath]:
    """Yield the path of every value; of a list, only those of its last element."""
    items: t.Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and value:
        items = [(len(value) - 1, value[-1])]
    for key, item in items:
        yield (*start, key)
        yield from paths(item, (*start, key))


def mutated(results: Results, path: ResultPath, value: t.Any) -> Results:
    """Return a copy of the results in which the value at ``path`` is replaced; the rest is shared."""
    changed = copy.copy(results)
    place: t.Any = changed
    for key in path[:-1]:
        place[key] = copy.copy(place[key])
        place = place[key]
    if value is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


def places() -> list[tuple[Results, ResultPath]]:
    """Return the path of every value that a node returns, with results that contain it."""
    healthy, failing = recorded("healthy-tp2"), recorded("nccl-failure")
    found = [(healthy, path) for path in paths(healthy) if len(path) > 1]
    # Findings about errors in logs have further values.
    failing = {**healthy, "logs": failing["logs"], "load": failing["load"]}
    return [*found, *((failing, path) for path in paths(failing["logs"]["findings"][:1], ("logs", "findings")))]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that the plugin displayed."""
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=1, display=texts.append))
    return texts


@pytest.fixture
def diagnose(monkeypatch: pytest.MonkeyPatch, run_action: Callable[..., Results]) -> Callable[[Results], Results]:
    """Return the action ``diagnose`` without the check of its options, which takes most of its time."""
    action = mock.Mock(_task=mock.Mock(check_mode=False))
    seen: list[Results] = []
    with monkeypatch.context() as patch:
        patch.setattr(Diagnose, "act", lambda _self, options, _variables: seen.append(options) or {})
        run_action(Diagnose, {"results": {}, "hourly_price": 0.9})
    return lambda results: Diagnose.act(action, {**seen[0], "results": results}, {"inventory_hostname": "bad"})


def unseen(value: t.Any, seen: set[tuple[ResultPath, str]], path: ResultPath = ()) -> t.Any:
    """Return ``value`` without the list items that were in a list at ``path`` before, and add the others to ``seen``.

    The last item is kept, so that the schema sees whether a list is empty.
    """
    if isinstance(value, dict):
        return {key: unseen(item, seen, (*path, key)) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = {(path, json.dumps(item)): item for item in value}
    new = [item for key, item in items.items() if key not in seen]
    seen.update(items)
    return [unseen(item, seen, path) for item in new or value[-1:]]


def strict_json(text: str) -> t.Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("kind", INVALID)
def test_mutated_results_cost_only_their_node(
    kind: str,
    diagnose: Callable[[Results], Results],
    run_action: Callable[..., Results],
    shown: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    schema = jsonschema.Draft202012Validator(without_references(SCHEMA))
    peers = {name: diagnose(recorded(name))["node"] for name in ("healthy-tp2", "throttling")}
    expected = report_documents.report_document(peers, run=RUN)["hosts"]
    seen: set[tuple[ResultPath, str]] = set()
    for number, (results, path) in enumerate(places()[list(INVALID).index(kind) % STEP :: STEP]):
        hosts = {**peers, "bad": diagnose(mutated(results, path, INVALID[kind]))["node"]}
        if number % RENDERED:
            with monkeypatch.context() as patch:
                # Masking secrets takes most of the time.
                patch.setattr(report_documents, "redact", lambda value, _secrets: value)
                document = report_documents.report_document(hosts, run=RUN)
            text = json.dumps(document["hosts"]["bad"], allow_nan=False, ensure_ascii=False)
            assert {name: document["hosts"][name] for name in peers} == peers, path
        else:
            # One other node is enough; each additional one would take as long as the mutated one.
            peer = next(iter(peers))
            nodes = {name: {"node": hosts[name]} for name in (peer, "bad")}
            arguments = {"nodes": nodes, "directory": str(tmp_path), "formats": list(FORMATS)}
            run_action(report.ActionModule, arguments)
            document = strict_json((tmp_path / "report.json").read_text(encoding="utf-8"))
            assert document["hosts"][peer] == expected[peer], path
            text = "\n".join([*(file.read_text(encoding="utf-8") for file in tmp_path.iterdir()), shown.pop()])
        schema.validate({**document, "hosts": {"bad": unseen(document["hosts"]["bad"], seen)}})
        assert printable(text) == text, path


def test_mutations_are_at_least_2000_and_rendered_at_least_200() -> None:
    tried = [len(places()[number % STEP :: STEP]) for number in range(len(INVALID))]
    assert sum(tried) >= 2000
    assert sum(count // RENDERED for count in tried) >= 200


def test_recorded_results_are_valid_and_documented() -> None:
    for scenario in ("healthy-tp2", "nccl-failure", "throttling"):
        for key, result in recorded(scenario).items():
            if not result.get("skipped"):
                documented = {key: value for key, value in result.items() if key not in ("changed", "failed")}
                assert checked_result(MEASUREMENTS[key], result) == documented
