# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a server, with the properties that another server must share for a comparison."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

#: Arguments of vLLM that change the weights or the cache in which a model computes, or what it computes.
CHANGING: t.Final = ("quantization", "kv_cache_dtype", "revision", "hf_overrides", "rope_scaling")


@dataclass(frozen=True)
class RecordedAnswers:
    """``recording`` is that of ``output_check``; ``source`` names it in findings.

    ``identity`` has the model, the seed of the prompts, and ``arguments``: the ``CHANGING`` arguments that are set, or
    None if the arguments of the server are unknown. ``trusted`` is whether no check of the node fails, so that its
    answers may become a reference.
    """

    source: str
    identity: Mapping[str, t.Any]
    recording: Mapping[str, t.Any]
    trusted: bool = False

    @classmethod
    def of(cls, source: str, recording: Mapping[str, t.Any], arguments: Mapping[str, t.Any] | None) -> RecordedAnswers:
        """Return the answers of a server that runs with ``arguments``, or with None if they are unknown."""
        changing = {
            name: str(arguments[name]) for name in CHANGING if arguments and arguments.get(name) not in (None, "auto")
        }
        model, seed = recording["model"], recording["seed"]
        return cls(
            source, {"model": model, "seed": seed, "arguments": None if arguments is None else changing}, recording
        )

    @property
    def certain(self) -> bool:
        """Whether it is known how the server computes."""
        return self.identity["arguments"] is not None
