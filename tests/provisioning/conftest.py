# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One stand-in for the Linode API per session, behind Prism where it is installed; one account per test."""

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
    """Front and fake for all tests; at the end no request may have violated Linode's API document."""
    fake = FakeLinode({})
    with ExitStack() as stack:
        upstream = stack.enter_context(serve_fake(fake))
        url = None
        if prism.available():
            url = stack.enter_context(prism.Prism(upstream.url, free_port(), tmp_path_factory.mktemp("prism")))
        front = stack.enter_context(Front(fake, url))
        front.judged = url is not None
        yield front, fake
    verdict = f"{len(front.violations)} violations" if front.judged else "form not tested, Prism is not installed"
    FIGURES.append(f"requests seen by Linode's API document: {front.requests}, {verdict}")


@pytest.fixture
def cloud(api, tmp_path):
    made = new_cloud(api, tmp_path)
    before = len(made.front.violations)
    yield made
    assert made.front.violations[before:] == []
    assert not made.leaks()


def pytest_terminal_summary(terminalreporter):
    """The figure that counts: how many requests Linode's document has seen."""
    for line in FIGURES:
        terminalreporter.write_line(line)
