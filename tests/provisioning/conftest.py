# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated Linode API per session, behind Prism if it is installed, and one account per test."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import prism
from cloud import FIGURES, free_port, new_cloud
from fake_linode import FakeLinode
from front import Front, serve_fake


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """Start front and fake for all tests."""
    fake = FakeLinode({})
    with ExitStack() as stack:
        upstream = stack.enter_context(serve_fake(fake))
        url = None
        if prism.available():
            url = stack.enter_context(prism.Prism(upstream.url, free_port(), tmp_path_factory.mktemp("prism")))
        front = stack.enter_context(Front(fake, url))
        yield front, fake
    result = f"{len(front.violations)} violations" if url else "form not tested, Prism is not installed"
    FIGURES.append(f"requests validated against Linode's API document: {front.requests}, {result}")


@pytest.fixture
def cloud(api, tmp_path):
    """An empty account; its requests may not violate the API document, and its token may not leak."""
    customer = new_cloud(api, tmp_path)
    before = len(customer.front.violations)
    yield customer
    assert customer.front.violations[before:] == []
    assert not customer.leaks()


def pytest_terminal_summary(terminalreporter):
    """Print the figures that the tests collected."""
    for line in FIGURES:
        terminalreporter.write_line(line)
