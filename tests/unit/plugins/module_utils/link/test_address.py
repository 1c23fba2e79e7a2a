# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.link import address
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import LinkError


def test_interface_of_loopback_address_is_lo() -> None:
    assert address.interface_of("127.0.0.1") == "lo"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("192.0.2.77", "does not have the address 192.0.2.77"), ("fd00::1", "IPv4"), ("gpu-01", "IPv4")],
)
def test_interface_of_other_address_is_an_error(wrong: str, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        address.interface_of(wrong)


def test_mtu_of_interface_is_the_one_of_the_kernel() -> None:
    with open("/sys/class/net/lo/mtu", encoding="ascii") as file:
        assert address.mtu_of("lo") == int(file.read())
    with pytest.raises(LinkError, match="none0"):
        address.mtu_of("none0")


@pytest.mark.parametrize(("name", "addresses"), [("127.0.0.9", ["127.0.0.9"]), ("no name.invalid", [])])
def test_own_name_resolves_to_addresses(monkeypatch: pytest.MonkeyPatch, name: str, addresses: list[str]) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert address.own_name() == (name, addresses)
