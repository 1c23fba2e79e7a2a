# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mask keys, passwords and tokens in settings and text, so that no module result contains a secret."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

MASK: t.Final = "***"

_NAME = re.compile(
    r"(^|_)(api_?key|access_?key|secret|password|passwd|token|passphrase|credentials?)$", re.IGNORECASE | re.ASCII
)
_IN_JSON = re.compile(r'("[^"]*(?:api_?key|secret|password|token)"\s*:\s*)(?:"[^"]*"|\[[^\]]*\])', re.IGNORECASE)
_IN_URL = re.compile(r"(://)[^/@\s]+@")
# Match a setting and its value in the notation of command lines, environment variables and Python.
# Accept a space between the name and the value only in command-line options.
# In other text, this would mask the word "is" in the sentence "The token is invalid".
_NAMES = r"(?:api[-_]?key|access[-_]?key|password|passwd|passphrase|secret|token)"
_IN_TEXT = re.compile(
    rf"((?:--[\w-]*{_NAMES}[= ]|\b\w*{_NAMES}['\"]?(?: ?= ?|: )) *)"
    r"(?:\[[^\]]*\]|'[^']*'|\"[^\"]*\"|[^\s,'\"}\])]+)",
    re.IGNORECASE,
)
_KNOWN_FORMS = re.compile(r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|Bearer \S+)")


def mask(values: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return ``values`` with secrets masked: the values of keys such as ``password``, and secrets in URLs and JSON."""
    return {str(key): mask_value(value, str(key)) for key, value in values.items()}


def mask_value(value: t.Any, name: str = "") -> t.Any:
    """Return the ``value`` of the option or variable ``name`` with secrets masked."""
    if _NAME.search(name.replace("-", "_")) and value is not None and not isinstance(value, bool):
        return MASK
    if isinstance(value, str):
        return _IN_URL.sub(rf"\1{MASK}@", _IN_JSON.sub(rf'\1"{MASK}"', value))
    if isinstance(value, list):
        return [mask_value(item) for item in value]
    if isinstance(value, Mapping):
        return mask(value)
    return value


def mask_text(text: str) -> str:
    """Return a line of text with all keys, passwords and tokens masked."""
    return _KNOWN_FORMS.sub(MASK, _IN_TEXT.sub(rf"\1{MASK}", _IN_URL.sub(rf"\1{MASK}@", text)))
