# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import threading

from ansible_collections.multigpu.vllm.plugins.module_utils import background as subject


def masked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_start_blocks_ending_signals_in_the_thread():
    seen, before = [], masked()
    thread = threading.Thread(target=lambda: seen.append(masked()))
    subject.start(thread)
    thread.join()
    assert seen[0] >= subject.ENDING
    assert masked() == before, "the caller still handles them"
