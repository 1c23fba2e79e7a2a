# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store and find baselines: one file for each node, GPU model, model and vLLM version.

The directory can be kept under version control.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

SCHEMA_VERSION: t.Final = "1.0"

Json = dict[str, t.Any]


@dataclass(frozen=True)
class Identity:
    """Key of a baseline; None means unknown. Runs that differ in any of these fields have separate baselines."""

    node: str
    gpu_model: str | None
    model: str | None
    vllm_version: str | None

    @classmethod
    def of(cls, node: NodeFacts) -> Identity:
        """Return the identity of a measured node. If its GPUs differ, the most frequent model comes first."""
        server = node.load.data.get("server") or {}
        return cls(
            node=node.name,
            gpu_model=" + ".join(name for name, _count in node.gpu_names.most_common()) or None,
            model=server.get("model"),
            vllm_version=server.get("version"),
        )

    @property
    def file_name(self) -> str:
        """Return a file name that is readable, safe on every file system, and unique even if two names look alike."""
        values = [str(value) if value is not None else "unknown" for value in asdict(self).values()]
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{'--'.join(map(_slug, values))}--{digest}.json"

    def differs_only_in_version(self, other: Identity) -> bool:
        """Return whether node, GPU model and model are equal, so that at most the vLLM version differs."""
        return (self.node, self.gpu_model, self.model) == (other.node, other.gpu_model, other.model)


class UnreadableBaseline(Exception):
    """A stored baseline that cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Baseline:
    """A run stored as a baseline: its file, time (ISO 8601), identity and measured ``cells``."""

    path: Path
    time: str
    identity: Identity
    tensor_parallel_size: int | None
    cells: list[Json]


def store(directory: Path, identity: Identity, node: Mapping[str, t.Any], time: str) -> Path:
    """Store the measured ``cells`` of ``node`` as the baseline and return its path. The file is replaced atomically.

    :raises OSError: if the directory cannot be written.
    """
    path = directory / identity.file_name
    document = {
        "schema_version": SCHEMA_VERSION,
        "time": time,
        "identity": asdict(identity),
        "gpus": node["gpus"],
        "tensor_parallel_size": node["tensor_parallel_size"],
        "cells": node["cells"],
    }
    write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path


def find(directory: Path, identity: Identity) -> Baseline | None:
    """Return the baseline of ``identity``, else the newest one that differs only in the vLLM version, else None.

    :raises UnreadableBaseline: if the file exists but is not a baseline.
    """
    exact = directory / identity.file_name
    if exact.is_file():
        return read(exact)
    # File names begin with the node's name, but only the content identifies a baseline.
    candidates = [read(path) for path in sorted(directory.glob(f"{_slug(identity.node)}--*.json"))]
    related = [baseline for baseline in candidates if identity.differs_only_in_version(baseline.identity)]
    return max(related, key=lambda baseline: baseline.time, default=None)


def past_speeds(directory: Path, node: NodeFacts) -> list[float]:
    """Return the speeds of one stream from the node's baseline, in output tokens/s after the first token.

    There is one number for each valid round with a single stream, and none without a baseline of this node, GPU model,
    model and tensor-parallel size.

    :raises UnreadableBaseline: if the file exists but is not a baseline.
    """
    baseline = find(directory, Identity.of(node))
    if baseline is None or baseline.tensor_parallel_size != node.tensor_parallel.data.get("tensor_parallel_size"):
        return []
    rounds = [entry for cell in baseline.cells if cell["concurrency"] == 1 for entry in cell["rounds"]]
    return [1.0 / entry["itl"]["p50"] for entry in rounds if entry["invalid"] is None and entry["itl"]]


def read(path: Path) -> Baseline:
    """Read the baseline file ``path``.

    :raises UnreadableBaseline: if the file cannot be read or is not a baseline.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema_version"].partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise ValueError(f"schema version {data['schema_version']}, this collection reads {SCHEMA_VERSION}")
        return Baseline(path, data["time"], Identity(**data["identity"]), data["tensor_parallel_size"], data["cells"])
    except OSError as error:
        raise UnreadableBaseline(f"baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UnreadableBaseline(f"baseline {path} cannot be used: {reason}") from error


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unknown"
