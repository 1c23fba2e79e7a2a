# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faults is complete, and none of its texts is repeated in the plugins."""

from __future__ import annotations

import ast
import collections
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS, XIDS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS

PLUGINS = pathlib.Path(__file__).resolve().parents[4] / "plugins"
FAULTS_FILE = PLUGINS / "module_utils" / "faults.py"
CAUSES_FILE = PLUGINS / "plugin_utils" / "data" / "causes.yml"

#: Faults that only state a fact; they need no action.
FACTS = {"transport_p2p", "transport_net_ib", "transport_net_other", "gdr_dmabuf"}

#: A sentence with fewer words, such as "Restart vLLM.", is not a text of one fault.
SHORTEST = 5

#: Share of common words from which two sentences are the same text in other words.
ALIKE = 0.8


@pytest.mark.parametrize("name", FAULTS)
def test_faults_entry_is_complete(name: str) -> None:
    fault = FAULTS[name]
    assert fault.check in CHECKS
    assert fault.summary
    assert not fault.summary.endswith(".")
    if name not in FACTS:
        assert fault.cause.endswith(".")
        assert fault.remedy.endswith(".")


@pytest.mark.parametrize("number", XIDS)
def test_xids_entry_is_complete(number: int) -> None:
    cause, remedy = XIDS[number]
    assert cause.endswith(".")
    assert remedy.endswith(".")


def literals(path: pathlib.Path) -> t.Iterator[str]:
    """Yield every string literal of a Python file, or every scalar of a YAML file, except documentation."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        yield from scalars(yaml.safe_load(text))
        return
    tree = ast.parse(text)
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Expr, ast.Assign)) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Expr) or "\n" in str(node.value.value)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def scalars(node: t.Any) -> t.Iterator[str]:
    """Yield every text value of parsed YAML."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, (list, dict)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from scalars(item)


def sentences(path: pathlib.Path) -> t.Iterator[frozenset[str]]:
    """Yield the words of each full sentence in the literals of a file; titles do not end with a full stop."""
    for text in literals(path):
        for sentence in re.findall(r"[^.;!?]*(?:[.](?!\s|$)[^.;!?]*)*[.](?=\s|$)", " ".join(text.split())):
            words = re.findall(r"[\w/=-]+", re.sub(r"\{[^}]*\}|\(vllm_\w+[^)]*\)", "", sentence).lower())
            if len(words) >= SHORTEST:
                yield frozenset(words)


@pytest.fixture(scope="module")
def occurrences() -> dict[frozenset[str], list[str]]:
    """Return the files in which each sentence occurs."""
    files: dict[frozenset[str], list[str]] = collections.defaultdict(list)
    for path in sorted([*PLUGINS.rglob("*.py"), *PLUGINS.rglob("data/*.yml")]):
        for words in sentences(path):
            files[words].append(str(path.relative_to(PLUGINS)))
    return files


@pytest.mark.parametrize("table", [FAULTS_FILE, CAUSES_FILE], ids=lambda path: path.name)
def test_fault_texts_occur_once(table: pathlib.Path, occurrences: dict[frozenset[str], list[str]]) -> None:
    repeated = {}
    for words in set(sentences(table)):
        same = [
            (" ".join(sorted(other)), file)
            for other, files in occurrences.items()
            if len(words & other) >= ALIKE * len(words | other)
            for file in files
        ]
        if len(same) > 1:
            repeated[" ".join(sorted(words))] = same
    assert not repeated, "refer to the table instead"


@pytest.mark.parametrize("parts", [("NCCL_P2P_DISABLE=1", "--disable-custom-all-reduce"), ("--ipc=host", "--shm-size")])
def test_workaround_is_described_once(parts: tuple[str, str]) -> None:
    files = sorted([*PLUGINS.rglob("*.py"), *PLUGINS.rglob("data/*.yml")])
    texts = [(path.name, text) for path in files for text in literals(path) if all(part in text for part in parts)]
    assert [name for name, _text in texts if not name.startswith("known_issues")] == ["faults.py"]
