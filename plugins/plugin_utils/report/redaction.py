# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mask all secrets in the result document before the document is written."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import quote

from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import MASK, mask_value

#: Keys whose values are defined by the schema and never masked. Otherwise, a password such as "pass" would break the
#: document.
_SCHEMA_KEYS: t.Final = frozenset({"schema_version", "status", "verdict", "check", "area", "time"})


def known_secrets(sources: Iterable[t.Any]) -> list[str]:
    """Return the texts to mask, longest first. From a mapping, take only the values of keys such as ``password``."""
    texts: set[str] = set()
    for item in sources:
        if isinstance(item, Mapping):
            texts |= {str(value) for name, value in item.items() if value and mask_value(value, str(name)) == MASK}
        elif item:
            texts.add(str(item))
    # A secret can also occur in URL-encoded or JSON-escaped form.
    forms = {form for text in texts for form in (text, quote(text, safe=""), json.dumps(text)[1:-1])}
    return sorted(forms, key=len, reverse=True)


def redact(value: t.Any, secrets: Collection[str], name: str = "") -> t.Any:
    """Mask ``secrets`` in ``value``, and also mask texts whose key or format shows that they are secret."""
    if isinstance(value, Mapping):
        return {str(key): redact(item, secrets, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return MASK if mask_value("", name) == MASK else [redact(item, secrets) for item in value]
    if not isinstance(value, str) or name in _SCHEMA_KEYS:
        return value
    for secret in secrets:
        value = value.replace(secret, MASK)
    return mask_value(value, name)
