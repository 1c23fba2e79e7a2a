# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that use the simulated Linode API of the provisioning suite without sockets."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("linode_api4")
sys.path.insert(0, str(Path(__file__).parents[4] / "provisioning"))

from fake_linode import Account, FakeLinode
from faults import FaultPlan
from in_process import FakeClock, make_api

TOKEN = "0123456789abcdef" * 4


class World:
    """One account, clock and fault plan; ``api()`` opens the API as a new run of a module does."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.account = Account(clock=self.clock.now, boot_seconds=40.0, delete_seconds=3.0)
        self.fake = FakeLinode({TOKEN: self.account})
        self.plan = FaultPlan()

    def api(self, budget=600.0):
        return make_api(self.fake, TOKEN, self.clock, self.plan, budget)

    def create_by_other(self, **body):
        """Create a Linode on behalf of another user."""
        full = {"label": "vllm-1", "type": "g2-gpu-rtx4000a4-m", "region": "us-ord", "image": "linode/ubuntu24.04"}
        return self.fake.add_instance(self.account, {**full, **body})


@pytest.fixture
def world():
    return World()
