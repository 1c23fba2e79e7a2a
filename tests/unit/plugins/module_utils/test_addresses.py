# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the classification of network addresses."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils import addresses as subject


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", "localhost", "localhost.", "node.localhost"])
def test_is_loopback_is_true_for_addresses_of_the_host_itself(host):
    assert subject.is_loopback(host)


@pytest.mark.parametrize("host", ["192.0.2.7", "node-01", "localhost.example.com", ""])
def test_is_loopback_is_false_for_other_addresses(host):
    assert not subject.is_loopback(host)
