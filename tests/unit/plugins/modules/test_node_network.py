# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the network interfaces of a node."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.command import NOT_FOUND, Commands
from ansible_collections.multigpu.vllm.plugins.modules import node_network


class Ip(Commands):
    """The output of ``ip -json address show`` of iproute2 6.1, on a host with a second address on eth1, shortened."""

    def run(self, argv: t.Sequence[str], timeout: float = 0) -> tuple[int, str]:
        assert argv == ["ip", "-json", "address", "show"]
        return 0, (
            '[{"ifindex":1,"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},'
            '{"family":"inet6","local":"::1","prefixlen":128}]},'
            '{"ifindex":3,"ifname":"eth1","addr_info":[{"family":"inet","local":"10.0.0.2","prefixlen":24},'
            '{"family":"inet","local":"10.0.0.3","prefixlen":24}]},{},{"ifindex":4,"ifname":"ifb0","addr_info":[]}]'
        )


def test_read_interfaces_returns_all_addresses() -> None:
    assert node_network.read_interfaces(Ip()) == [
        {"name": "lo", "addresses": ["127.0.0.1", "::1"]},
        {"name": "eth1", "addresses": ["10.0.0.2", "10.0.0.3"]},
        {"name": "ifb0", "addresses": []},
    ]


def test_read_interfaces_without_iproute2_returns_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ip, "run", lambda *_unused: (NOT_FOUND, "No such file or directory: 'ip'"))
    assert node_network.read_interfaces(Ip()) == []


def test_read_infiniband_lists_the_devices(tmp_path: Path) -> None:
    (tmp_path / "mlx5_1").mkdir()
    (tmp_path / "mlx5_0").mkdir()
    assert node_network.read_infiniband(str(tmp_path)) == ["mlx5_0", "mlx5_1"]
    assert node_network.read_infiniband(str(tmp_path / "absent")) == []


def test_module_finds_the_loopback_interface_of_this_host(capsys: pytest.CaptureFixture[str]) -> None:
    if not Commands().which("ip"):
        pytest.skip("iproute2 is not installed")
    with patch_module_args({}), pytest.raises(SystemExit):
        node_network.main()
    result = json.loads(capsys.readouterr().out)
    assert {"name": "lo", "addresses": ["127.0.0.1"]}.items() <= {
        key: value[:1] if key == "addresses" else value for key, value in result["interfaces"][0].items()
    }.items()
