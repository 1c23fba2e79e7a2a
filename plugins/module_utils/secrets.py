# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mask keys, passwords and tokens in names, values and text, so that no result contains a secret."""

from __future__ import annotations

import collections
import math
import re
import typing as t
from collections.abc import Mapping

MASK: t.Final = "***"

#: Names of settings that hold a secret: the whole name, or the last words of one. "tokens" alone is a count.
_WORDS: t.Final = (
    r"api[_-]?keys?|access[_-]?keys?|private[_-]?keys?|signing[_-]?keys?|encryption[_-]?keys?|(?<![a-z])keys?[_-]?pass"
    r"|passwords?|passwd|pgpassword|passphrases?|(?<![a-z])pass|(?<![a-z])pwd|secrets?(?:[_-][\w-]{0,64})?|credentials?"
    r"|token|(?:hf|api|auth|access|bearer|refresh)[_-]?tokens|authorization|(?:set-)?cookies?|session[_-]?id"
)
_NAME: t.Final = re.compile(rf"(?:^|_|(?<=[a-z]))(?:{_WORDS})$", re.IGNORECASE | re.ASCII)
#: A value in quotes or brackets, or up to the next separator.
_VALUE: t.Final = r"(?:\[[^\]]{0,4096}\]|'[^']{0,4096}'|\"[^\"]{0,4096}\"|[^\s,'\"}\])&]+)"
#: Patterns of secrets in text. Group 1, if there is one, is kept. Repetitions are limited to keep the time linear,
#: because nodes supply the text.
_PATTERNS: t.Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        # User and password in a URL. A password may contain "/" and "@", so the last "@" of the word ends it.
        r"(://)[^\s/@:'\"]{0,256}:[^\s'\"]{0,1024}(?=@)",
        r"(://)[^\s/@:'\"]{1,1024}(?=@)",
        r"(https://hooks\.slack\.com/services/)\S+",
        r"((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic|digest|token|negotiate)\s+)?[^\s'\"]+",
        r"((?:set-)?cookie['\"]?\s*:\s*).+",
        r"\b(bearer\s+)[^\s'\"]+",
        # Only an option may be separated from its value by a space; vLLM accepts several API keys after one option.
        rf"((?<![\w-])--[\w-]*api[_-]?keys?[= ])\s*{_VALUE}(?:\s+(?!-){_VALUE})*",
        rf"((?<![\w-])--[\w-]*(?:{_WORDS})[= ]\s*){_VALUE}",
        rf"((?:\b|_|(?<=[a-z]))(?:{_WORDS})['\"]?\]?(?: ?= ?|: ?)\s*){_VALUE}",
        r"((?:[?&](?:\w*sig(?:nature)?|key)|\bx-[a-z]+-(?:signature|credential|security-token))=)[^\s&'\"]+",
    )
)
#: Forms in which issuers mark their keys. Upper and lower case differ in them.
_ISSUED: t.Final = re.compile(
    r"\b(?:hf_|api_org_|ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|glpat-|nvapi-|xox[abeoprs]-|npm_|dckr_pat_|pypi-|sk-|ya29\.)"
    r"[\w.-]{8,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]*(?:\.[\w-]*)?"
    r"|\b(?i:basic)\s+(?=[A-Za-z+/]*[A-Z0-9+/])[A-Za-z0-9+/_-]{6,}={0,2}",
    re.ASCII,
)
#: Every text in which one of these patterns finds something contains one of these words in lower case. Most texts of a
#: node contain none, and searching for the words takes a small part of the time of the patterns.
_CUES: t.Final = (
    *("key", "pass", "pwd", "secret", "credential", "token", "authorization", "cookie", "session", "sig"),
    *("://", "bearer", "basic", "hf_", "api_org_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "_pat_", "glpat-", "nvapi-"),
    *("xox", "npm_", "pypi-", "sk-", "ya29.", "akia", "asia", "aiza", "eyj"),
)
_WORD: t.Final = re.compile(r"[A-Za-z0-9+_=-]{20,}", re.ASCII)
#: A line of a private key, which a log contains as several lines.
_BASE64_LINE: t.Final = re.compile(r"\s*[A-Za-z0-9+/]{40,}={0,2}\s*", re.ASCII)
#: Long words that are no keys: the UUID of a GPU, and words and numbers that are joined.
_UUID: t.Final = re.compile(r"(?:GPU-|MIG-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLAIN_PART: t.Final = re.compile(r"[A-Za-z]*\d{0,4}|(?:0x)?\d+[A-Za-z]{0,2}|\w{1,7}")
#: Smallest entropy of a random word in bits per character; 20 random hexadecimal digits have about 3.3.
_RANDOM: t.Final = 3.0


def mask(values: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return ``values`` with secrets masked: those whose name marks a secret, and secrets within other values."""
    return {str(key): mask_value(value, str(key)) for key, value in values.items()}


def mask_value(value: t.Any, name: str = "") -> t.Any:
    """Return ``value`` of the option or variable ``name``, masked as ``mask`` does."""
    if _NAME.search(name.replace("-", "_")) and value is not None and not isinstance(value, bool):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, list):
        return [mask_value(item) for item in value]
    if isinstance(value, Mapping):
        return mask(value)
    return value


def mask_text(text: str) -> str:
    """Return ``text`` with all keys, passwords and tokens masked that a name, a keyword or their form reveals."""
    lower = text.lower()
    if not any(cue in lower for cue in _CUES):
        return text
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{MASK}" if pattern.groups else MASK, text)
    return _ISSUED.sub(MASK, text)


def mask_line(line: str) -> str:
    """Return a line of a log, masked as ``mask_text`` does, and with all other words that look random masked."""
    if _BASE64_LINE.fullmatch(line):
        return MASK
    return _WORD.sub(lambda word: MASK if _is_random(word[0]) else word[0], mask_text(line))


def _is_random(word: str) -> bool:
    if _UUID.fullmatch(word) or all(map(_PLAIN_PART.fullmatch, re.split("[_=+-]", word))):
        return False
    counts = collections.Counter(word).values()
    return -sum(count / len(word) * math.log2(count / len(word)) for count in counts) >= _RANDOM
