# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history import answer_store
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers
from ansible_collections.multigpu.vllm.tests.support.answers import recording

ANSWERS = RecordedAnswers.of("node-1", recording("tp1"), {"quantization": "fp8"})


def test_store_keeps_identity_and_answers_and_names_node_version_and_day(tmp_path: Path) -> None:
    path = answer_store.store(tmp_path / "new", ANSWERS, "2026-11-30T12:00:00+00:00")
    stored = answer_store.read(path)
    assert (stored.identity, stored.recording) == (ANSWERS.identity, ANSWERS.recording)
    assert stored.source == "the reference of 2026-11-30 (node-1, vLLM 0.32.0)"


def test_path_differs_for_each_quantisation(tmp_path: Path) -> None:
    plain = RecordedAnswers.of("node-1", recording("tp1"), {})
    paths = {answer_store.path_of(tmp_path, item.identity) for item in (ANSWERS, plain)}
    assert len(paths) == 2
    assert all(path.name.startswith("models-small--") for path in paths)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "cannot be read"), ("[]", "cannot be used"), ("{", "cannot be used"), ('{"schema_version": "9"}', "9")],
)
def test_read_unreadable_file_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(answer_store.UnreadableAnswers, match=reason) as caught:
        answer_store.read(path)
    assert str(path) in str(caught.value)
