# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root passwords and SSH keys: made well, and checked before they are sent."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

#: Limits of root_pass in Linode's API document (POST /linode/instances).
PASSWORD_SHORTEST: t.Final = 7
PASSWORD_LONGEST: t.Final = 128
#: Characters that neither a shell, YAML, a URL nor Jinja gives a meaning, and that no two fonts confuse.
PASSWORD_SYMBOLS: t.Final = "-_."
PASSWORD_LETTERS: t.Final = "".join(sorted(set(string.ascii_letters) - set("IlO")))
PASSWORD_DIGITS: t.Final = "23456789"
#: 40 of 62 characters: about 236 bits.
PASSWORD_LENGTH: t.Final = 40

#: Public key types that Linode accepts (SSH keys, API document). linode_api4 opens any other text as a *file*.
KEY_TYPES: t.Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def generate_password(length: int = PASSWORD_LENGTH) -> str:
    """A random root password with upper case, lower case, digits and symbols; it begins and ends with a letter.

    A symbol at the start would be an option to a shell command or a list to YAML, one at the end is lost when a
    person copies it out of a sentence.

    :raises ValueError: for a ``length`` that Linode does not accept or that is too short to be strong (12).
    """
    if not 12 <= length <= PASSWORD_LONGEST:
        raise ValueError(f"a root password needs 12 to {PASSWORD_LONGEST} characters, not {length}")
    alphabet = PASSWORD_LETTERS + PASSWORD_DIGITS + PASSWORD_SYMBOLS
    while True:
        middle = "".join(secrets.choice(alphabet) for _position in range(length - 2))
        candidate = secrets.choice(PASSWORD_LETTERS) + middle + secrets.choice(PASSWORD_LETTERS)
        # Drawing again keeps every accepted password equally likely.
        if not weakness(candidate) and "--" not in candidate and _classes(candidate) == 4:
            return candidate


def _classes(password: str) -> int:
    groups = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")
    return sum(1 for group in groups if re.search(group, password))


def weakness(password: str) -> str | None:
    """Why Linode would refuse ``password`` as root_pass, None where it would not; the text never contains it.

    The API's strength score is internal. This rule is the strict reading of its documents: length, three of four kinds
    of characters, and no character that repeats most of the text.
    """
    if not PASSWORD_SHORTEST <= len(password) <= PASSWORD_LONGEST:
        return f"it has {len(password)} characters; Linode takes {PASSWORD_SHORTEST} to {PASSWORD_LONGEST}"
    if not password.isprintable():
        return "it contains control characters"
    if len(password) < 12 and _classes(password) < 4 or _classes(password) < 3 and len(password) < 20:
        return "it is too weak; mix upper and lower case, digits and symbols, or use 20 characters and more"
    if len(set(password)) < 5:
        return "it repeats too few characters"
    return None


def check_key(key: str) -> str:
    """``key`` as one clean line.

    :raises InvalidInput: where it is a path, a private key or anything else that is not a public SSH key.
    """
    line = key.strip()
    if "PRIVATE KEY" in line:
        raise InvalidInput("authorized_keys contains a PRIVATE key. Use the public half, the file that ends in .pub.")
    if "\n" in line or "\r" in line:
        raise InvalidInput("An entry of authorized_keys has several lines; give one key an entry (splitlines).")
    kind, _space, rest = line.partition(" ")
    blob = rest.strip().partition(" ")[0]
    if kind not in KEY_TYPES or not _holds(blob, kind):
        raise InvalidInput(
            f"authorized_keys entry {_shorten(line)} is not a public SSH key. It takes the key itself, not a path: "
            f"lookup('ansible.builtin.file', path). Key types: {', '.join(KEY_TYPES)}."
        )
    return line


def _holds(blob: str, kind: str) -> bool:
    """Whether the base64 ``blob`` names ``kind`` as its type (RFC 4253, 6.6)."""
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return data[4 : 4 + int.from_bytes(data[:4], "big")] == kind.encode()


def _shorten(text: str) -> str:
    """What may be shown of a text that is no key: paths and key types; anything else could be a secret."""
    if not text.startswith(("/", "~", ".", *KEY_TYPES)):
        return f"(hidden, {len(text)} characters)"
    return text if len(text) <= 40 else text[:37] + "..."
