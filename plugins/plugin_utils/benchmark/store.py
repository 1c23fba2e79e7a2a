# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store and find baselines: one file per combination of node, GPU model, language model and vLLM version.

The directory of baselines can be kept under version control.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import file_name, slug
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

SCHEMA_VERSION: t.Final = "1.0"

Json = dict[str, t.Any]


@dataclass(frozen=True)
class Identity:
    """Fields that identify a baseline; None means unknown. Runs that differ in any field have separate baselines."""

    node: str
    gpu_model: str | None
    model: str | None
    vllm_version: str | None

    @classmethod
    def of(cls, node: NodeFacts) -> Identity:
        """Return the fields that identify a node's baseline.

        If the node has GPUs of several models, the most common model comes first.
        """
        server = node.load.data.get("server") or {}
        return cls(
            node=node.name,
            gpu_model=" + ".join(name for name, _count in node.gpu_names.most_common()) or None,
            model=server.get("model"),
            vllm_version=server.get("version"),
        )

    @property
    def file_name(self) -> str:
        """Return a file name that is readable, safe on every file system, and unique even for similar node names."""
        values = [str(value) if value is not None else "unknown" for value in asdict(self).values()]
        return file_name(asdict(self), "--".join(map(slug, values)))

    def differs_only_in_version(self, other: Identity) -> bool:
        """Return whether ``other`` has the same node, GPU model and language model. The vLLM version may differ."""
        return (self.node, self.gpu_model, self.model) == (other.node, other.gpu_model, other.model)


class UnreadableBaseline(Exception):
    """A stored baseline cannot be used; the message contains the file name and the reason."""


@dataclass(frozen=True)
class Baseline:
    """A benchmark run that is stored as a baseline in the file ``path``.

    ``time``: when the benchmark ran, in ISO 8601 format; ``identity``: the fields that identify the baseline;
    ``cells``: the results, one for each combination of prompt size, output size and number of streams.
    """

    path: Path
    time: str
    identity: Identity
    tensor_parallel_size: int | None
    cells: list[Json]


def store(directory: Path, identity: Identity, node: Mapping[str, t.Any], time: str) -> Path:
    """Write the node's results to a baseline file, and return the path of the file.

    The file is replaced atomically.

    :raises OSError: if the file cannot be written.
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
    """Return the baseline that matches all fields of ``identity``.

    If it does not exist, return the newest baseline that differs only in the vLLM version. If neither exists, return
    None.

    :raises UnreadableBaseline: if a file exists but cannot be used as a baseline.
    """
    exact = directory / identity.file_name
    if exact.is_file():
        return read(exact)
    # Names of baseline files for different nodes can start with the same text, so check the node name in each file.
    candidates = [read(path) for path in sorted(directory.glob(f"{slug(identity.node)}--*.json"))]
    related = [baseline for baseline in candidates if identity.differs_only_in_version(baseline.identity)]
    return max(related, key=lambda baseline: baseline.time, default=None)


def past_speeds(directory: Path, node: NodeFacts) -> list[float]:
    """Return the single-stream speeds from the node's baseline, in output tokens per second.

    The time to the first token is not included. The list has one speed for each valid round with a single stream. It is
    empty without a baseline for this node, GPU model, model and tensor-parallel size.

    :raises UnreadableBaseline: if a file exists but cannot be used as a baseline.
    """
    baseline = find(directory, Identity.of(node))
    if baseline is None or baseline.tensor_parallel_size != node.tensor_parallel_size:
        return []
    rounds = [entry for cell in baseline.cells if cell["concurrency"] == 1 for entry in cell["rounds"]]
    return [1.0 / entry["itl"]["p50"] for entry in rounds if entry["invalid"] is None and entry["itl"]]


def read(path: Path) -> Baseline:
    """Read a baseline from the file ``path``.

    :raises UnreadableBaseline: if the file cannot be read or is not a baseline.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema_version"].partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise ValueError(f"its schema version is {data['schema_version']}, not {SCHEMA_VERSION}")
        return Baseline(path, data["time"], Identity(**data["identity"]), data["tensor_parallel_size"], data["cells"])
    except OSError as error:
        raise UnreadableBaseline(f"baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UnreadableBaseline(f"baseline {path} cannot be used: {reason}") from error
