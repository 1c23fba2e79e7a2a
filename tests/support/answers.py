# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a real vLLM 0.32 on CPU (``tests/real_vllm/outputs.py``): healthy, and with a part of the weights 0."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

Answers = list[dict[str, t.Any]]

_RECORDED: t.Final = json.loads((FIXTURES / "output/answers-0.32.json").read_text("utf-8"))


def recorded(case: str) -> Answers:
    """Return the answers in the case ``tp1``, ``tp2`` or ``zero``."""
    return copy.deepcopy(t.cast("Answers", _RECORDED[case]))


def recording(case: str, **fields: t.Any) -> dict[str, t.Any]:
    """Return the recording of ``output_check`` in a case."""
    return {"model": "/models/small", "vllm_version": "0.32.0", "seed": 0, "answers": recorded(case), **fields}
