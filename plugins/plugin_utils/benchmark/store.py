# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Baselines: one file for each node, GPU model, model and vLLM version, in a directory that can be kept under version
control."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically

SCHEMA_VERSION: t.Final = "1.0"

Json = dict[str, t.Any]


@dataclass(frozen=True)
class Identity:
    """What a speed belongs to; ``None`` is unknown. A different value of any of them is a different baseline."""

    node: str
    gpu_model: str | None
    model: str | None
    vllm_version: str | None

    @property
    def file_name(self) -> str:
        """Readable, safe on every file system, and distinct even where two names read alike."""
        values = [str(value) if value is not None else "unknown" for value in asdict(self).values()]
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{'--'.join(map(_slug, values))}--{digest}.json"

    def same_but_version(self, other: Identity) -> bool:
        return (self.node, self.gpu_model, self.model) == (other.node, other.gpu_model, other.model)


class UnreadableBaseline(Exception):
    """A stored baseline cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Baseline:
    """A stored run: where it lies, when it was measured (ISO 8601), what it belongs to, its ``cells``."""

    path: Path
    time: str
    identity: Identity
    tensor_parallel_size: int | None
    cells: list[Json]


def store(directory: Path, identity: Identity, node: Mapping[str, t.Any], time: str) -> Path:
    """Keep the measured ``cells`` of ``node`` as the baseline; the file is replaced in one step.

    :raises OSError: where the directory cannot be written.
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
    """The baseline of ``identity``, else the newest of the same node, GPU model and model with another vLLM version.

    :raises UnreadableBaseline: where the file is there and is no baseline.
    """
    exact = directory / identity.file_name
    if exact.is_file():
        return read(exact)
    # Every name begins with the node; what a file belongs to is decided by what stands in it.
    candidates = [read(path) for path in sorted(directory.glob(f"{_slug(identity.node)}--*.json"))]
    related = [baseline for baseline in candidates if identity.same_but_version(baseline.identity)]
    return max(related, key=lambda baseline: baseline.time, default=None)


def read(path: Path) -> Baseline:
    """The baseline in ``path``.

    :raises UnreadableBaseline: for anything else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema_version"].partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise ValueError(f"schema version {data['schema_version']}, this collection reads {SCHEMA_VERSION}")
        return Baseline(path, data["time"], Identity(**data["identity"]), data["tensor_parallel_size"], data["cells"])
    except OSError as error:
        raise UnreadableBaseline(f"baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UnreadableBaseline(f"baseline {path} cannot be used: {said}") from error


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unknown"
