# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that use the simulated Linode API of the provisioning suite without sockets."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("linode_api4")
sys.path.insert(0, str(Path(__file__).parents[4] / "provisioning"))

from in_process import World


@pytest.fixture
def world():
    return World()
