# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate root passwords, and validate passwords and SSH keys before they are sent to the API."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

#: Limits for root_pass in Linode's API documentation (POST /linode/instances).
MIN_PASSWORD_LENGTH: t.Final = 7
MAX_PASSWORD_LENGTH: t.Final = 128
#: Characters without special meaning in a shell, YAML, a URL or Jinja, and hard to confuse in any font.
PASSWORD_SYMBOLS: t.Final = "-_."
PASSWORD_LETTERS: t.Final = "".join(sorted(set(string.ascii_letters) - set("IlO")))
PASSWORD_DIGITS: t.Final = "23456789"
#: A password of 40 characters from an alphabet of 60 has about 236 bits of entropy.
PASSWORD_LENGTH: t.Final = 40

#: Types of public keys that Linode accepts (API documentation, SSH keys). linode_api4 treats other text as a path.
KEY_TYPES: t.Final = tuple(
    "ssh-ed25519 ssh-rsa ssh-dss ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 "
    "sk-ecdsa-sha2-nistp256@openssh.com".split()
)


def generate_password() -> str:
    """Return a random root password with upper-case letters, lower-case letters, digits and symbols.

    It starts and ends with a letter: a shell command would read a symbol at the start as an option, and YAML as a list.
    A symbol at the end is easily lost when the password is copied from a sentence.
    """
    alphabet = PASSWORD_LETTERS + PASSWORD_DIGITS + PASSWORD_SYMBOLS
    while True:
        middle = "".join(secrets.choice(alphabet) for _position in range(PASSWORD_LENGTH - 2))
        candidate = secrets.choice(PASSWORD_LETTERS) + middle + secrets.choice(PASSWORD_LETTERS)
        # Discard an unsuitable password instead of changing it, so that all suitable passwords are equally likely.
        if not password_problem(candidate) and "--" not in candidate and _character_classes(candidate) == 4:
            return candidate


def _character_classes(password: str) -> int:
    classes = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")
    return sum(1 for pattern in classes if re.search(pattern, password))


def password_problem(password: str) -> str | None:
    """Return a message that explains why Linode would refuse ``password``, or None if Linode would accept it.

    The message never contains the password. The API's strength score is not documented. The rules used here are a
    strict interpretation of the API documentation: length, three of four character classes, and at least five different
    characters.
    """
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        return f"it has {len(password)} characters; {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} are allowed"
    if not password.isprintable():
        return "it contains control characters"
    classes = _character_classes(password)
    if len(password) < 12 and classes < 4 or classes < 3 and len(password) < 20:
        return "it is too weak; mix upper case, lower case, digits and symbols, or use at least 20 characters"
    if len(set(password)) < 5:
        return "it has fewer than 5 different characters"
    return None


def check_key(key: str) -> str:
    """Validate a public SSH key, and return it as one line without surrounding white space.

    :raises InvalidInput: for a path, a private key or anything else that is not a public SSH key.
    """
    line = key.strip()
    if "PRIVATE KEY" in line:
        raise InvalidInput("authorized_keys contains a PRIVATE key. Use the public key, the file that ends in .pub.")
    if "\n" in line or "\r" in line:
        raise InvalidInput("An entry of authorized_keys has several lines; use one entry per key (splitlines).")
    key_type, _space, rest = line.partition(" ")
    blob = rest.strip().partition(" ")[0]
    if key_type not in KEY_TYPES or not _has_type(blob, key_type):
        raise InvalidInput(
            f"authorized_keys entry {_redact(line)} is not a public SSH key. Use the key itself, not a path: "
            f"lookup('ansible.builtin.file', path). Key types: {', '.join(KEY_TYPES)}."
        )
    return line


def _has_type(blob: str, key_type: str) -> bool:
    """Return whether the base64-encoded key in ``blob`` is of type ``key_type`` (RFC 4253, section 6.6)."""
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return data[4 : 4 + int.from_bytes(data[:4], "big")] == key_type.encode()


def _redact(text: str) -> str:
    """Return ``text``, which is not a valid public SSH key, in the form in which error messages show it.

    The text is hidden because it could be a secret, unless it looks like a path or starts with a key type.
    """
    if not text.startswith(("/", "~", ".", *KEY_TYPES)):
        return f"(hidden, {len(text)} characters)"
    return text if len(text) <= 40 else text[:37] + "..."
