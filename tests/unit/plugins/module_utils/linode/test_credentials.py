# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import shlex

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import credentials as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT alice@example"


def test_ten_thousand_passwords_are_all_within_the_rule():
    made = [subject.generate_password() for _number in range(10_000)]

    assert len(set(made)) == 10_000
    assert {subject.weakness(password) for password in made} == {None}
    assert {len(password) for password in made} == {subject.PASSWORD_LENGTH}
    # Neither a shell nor YAML reads anything but the text itself.
    assert all(shlex.quote(password) == password for password in made)
    assert all(yaml.safe_load(f"p: {password}") == {"p": password} for password in made[:500])
    assert all(password[0].isalpha() and password[-1].isalpha() for password in made)
    assert all(subject._classes(password) == 4 for password in made)


@pytest.mark.parametrize("length", [11, 129])
def test_length_that_linode_does_not_take(length):
    with pytest.raises(ValueError, match="12 to 128"):
        subject.generate_password(length)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Ab1-xy", "6 characters"),
        ("x" * 129, "129 characters"),
        ("abcdefgh", "too weak"),
        ("abcdefgh1234", "too weak"),
        ("Ab1-\n" + "x" * 20, "control characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "repeats"),
    ],
)
def test_weak_passwords_are_named_without_being_shown(password, reason):
    said = subject.weakness(password)

    assert reason in said
    assert password not in said


@pytest.mark.parametrize("password", ["Ab1-xyz", "abcdefgh1234ABCD", "correct horse battery staple"])
def test_good_passwords(password):
    assert subject.weakness(password) is None


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== old",
    ],
)
def test_public_keys(key):
    assert subject.check_key(f"  {key}\n") == key


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("~/.ssh/id_ed25519.pub", "~/.ssh/id_ed25519.pub is not a public SSH key. It takes the key itself, not a path"),
        ("/etc/passwd", "/etc/passwd is not"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz", "PRIVATE key"),
        (f"{KEY}\n{KEY}", "several lines"),
        ("ssh-ed25519 not/base64!", "not a public SSH key"),
        ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT", "not a public SSH key"),
        ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "hidden, 31 characters"),
        ("", "hidden, 0 characters"),
        ("ssh-ed25519 " + "A" * 80, "..."),
    ],
)
def test_other_texts_are_refused_before_the_library_opens_them(text, reason):
    with pytest.raises(InvalidInput) as caught:
        subject.check_key(text)
    assert reason in str(caught.value)
    assert "b3BlbnNz" not in str(caught.value)
