# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the answers of healthy servers on the controller: one file for each model, quantisation and seed."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.output.run import answers_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import file_name, slug
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers

SCHEMA_VERSION: t.Final = "1.0"


class UnreadableAnswers(Exception):
    """A stored reference cannot be used; the message contains the file name and the reason."""


def path_of(directory: Path, identity: Mapping[str, t.Any]) -> Path:
    """Return the path of the reference for ``identity``."""
    return directory / file_name(identity, slug(str(identity["model"]))[-80:])


def read(path: Path) -> RecordedAnswers:
    """Read a reference.

    :raises UnreadableAnswers: if the file cannot be read or is not a reference.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"its schema version is {document['schema_version']}, not {SCHEMA_VERSION}")
        recording = document["recording"] | {"answers": answers_of(document["recording"])}
        version = recording["vllm_version"] or "an unknown version"
        source = f"the reference of {str(document['time'])[:10]} ({document['node']}, vLLM {version})"
        return RecordedAnswers(source, dict(document["identity"]), recording)
    except OSError as error:
        raise UnreadableAnswers(f"reference {path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableAnswers(f"reference {path} cannot be used: {error}") from error


def store(directory: Path, answers: RecordedAnswers, time: str) -> Path:
    """Write ``answers`` as a reference, and return the path of the file, which is replaced atomically.

    :raises OSError: if the file cannot be written.
    """
    path = path_of(directory, answers.identity)
    document = {
        "schema_version": SCHEMA_VERSION,
        "time": time,
        "node": answers.source,
        "identity": dict(answers.identity),
        "recording": dict(answers.recording),
    }
    directory.mkdir(parents=True, exist_ok=True)
    replace_text(str(path), json.dumps(document, ensure_ascii=False) + "\n", 0o644)
    return path
