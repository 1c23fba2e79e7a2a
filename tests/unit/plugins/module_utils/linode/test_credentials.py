# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import shlex

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import credentials as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT alice@example"


def test_generate_password_meets_the_rules_ten_thousand_times():
    passwords = [subject.generate_password() for _number in range(10_000)]

    assert len(set(passwords)) == 10_000
    assert {subject.password_problem(password) for password in passwords} == {None}
    assert {len(password) for password in passwords} == {subject.PASSWORD_LENGTH}
    # A shell and YAML read the text unchanged.
    assert all(shlex.quote(password) == password for password in passwords)
    assert all(yaml.safe_load(f"p: {password}") == {"p": password} for password in passwords[:500])
    assert all(password[0].isalpha() and password[-1].isalpha() for password in passwords)
    assert all(subject._character_classes(password) == 4 for password in passwords)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Ab1-xy", "6 characters"),
        ("x" * 129, "129 characters"),
        ("abcdefgh", "too weak"),
        ("abcdefgh1234", "too weak"),
        ("Ab1-\n" + "x" * 20, "control characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "different characters"),
    ],
)
def test_password_problem_names_the_reason_without_the_password(password, reason):
    problem = subject.password_problem(password)

    assert reason in problem
    assert password not in problem


@pytest.mark.parametrize("password", ["Ab1-xyz", "abcdefgh1234ABCD", "correct horse battery staple"])
def test_password_problem_accepts_strong_password(password):
    assert subject.password_problem(password) is None


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== old",
    ],
)
def test_check_key_accepts_public_key(key):
    assert subject.check_key(f"  {key}\n") == key


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("~/.ssh/id_ed25519.pub", "~/.ssh/id_ed25519.pub is not a public SSH key. Use the key itself, not a path"),
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
def test_check_key_refuses_other_text(text, reason):
    with pytest.raises(InvalidInput) as caught:
        subject.check_key(text)
    assert reason in str(caught.value)
    assert "b3BlbnNz" not in str(caught.value)
