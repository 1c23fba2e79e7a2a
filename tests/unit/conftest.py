# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings and fixtures of all unit tests."""

from __future__ import annotations

import gc
import sys

import hypothesis
import pytest

# The same examples in every run, and no deadline, because a slow machine is not an error.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(scope="session")
def plugin_loader() -> None:
    """Initialize Ansible's plugin loader once in a test process.

    From then on, Ansible imports the modules of the collection and reads its metadata from its package. The tests have
    already imported this package without Ansible, so it has none.
    """
    # Nodes have only a part of Ansible.
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()
    sys.modules["ansible_collections.multigpu.vllm"]._collection_meta = {}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove keys, proxies and loader paths of the developer's shell, so that they do not affect tests."""
    for name in (*PROXIES, "LD_LIBRARY_PATH", "LINODE_TOKEN", "VLLM_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def _small_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exclude all existing objects from the collections that the load client runs before each step.

    A module has few objects, but the test process has so many that each collection takes a tenth of a second.
    """
    gc.freeze()
    monkeypatch.setattr(gc, "unfreeze", lambda: None)
