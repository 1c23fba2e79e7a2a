# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove characters from the text of untrusted nodes that control a terminal or change the order of the text."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t
from collections.abc import Mapping

#: Control characters (C0 without tab and line feed, DEL, C1), with which terminal escape sequences begin; the
#: bidirectional controls of Unicode (UAX #9); and surrogates, which UTF-8 cannot encode.
_UNPRINTABLE: t.Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return ``text`` with U+FFFD in place of each control, bidirectional control or surrogate character.

    Tabs and line feeds remain, and the line ends of Windows become line feeds.
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def printable_data(data: t.Any) -> t.Any:
    """Return a copy of lists, dictionaries and data classes in which all texts are printable. Other data is kept."""
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, Mapping):
        return {printable(key) if isinstance(key, str) else key: printable_data(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(printable_data, data))
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        values = {field.name: printable_data(getattr(data, field.name)) for field in dataclasses.fields(data)}
        return dataclasses.replace(data, **values)
    return data


def file_name(identity: Mapping[str, t.Any], stem: str) -> str:
    """Return the name of the JSON file for ``identity``: a readable ``stem``, and a digest that makes it unique."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return f"{stem}--{digest}.json"


def slug(text: str) -> str:
    """Return ``text`` with everything replaced by "-" that a file name may not contain on every file system."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unknown"
