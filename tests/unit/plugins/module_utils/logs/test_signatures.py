# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data itself: complete, and of one piece. What it recognises is tested with the scanner."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import (
    CLASSES,
    ERROR,
    INFO,
    SIGNATURES,
    WARNING,
    FaultClass,
    Signature,
)

#: The classes of the labelled logs.
LABELLED = set(
    """
    nccl_system_error nccl_cuda_error nccl_remote_error nccl_internal_error nccl_invalid_usage nccl_timeout nccl_shm
    nccl_bootstrap_network gloo_bootstrap_network nccl_ib_error nccl_net_plugin nccl_p2p_unavailable
    nccl_duplicate_gpu invalid_device_ordinal cuda_oom gpu_memory_busy kv_cache_too_small kv_preemption host_oom
    vllm_config_error process_segfault startup_hang worker_hang xid sxid peermem_invalid_context
    custom_allreduce_disabled transport_p2p transport_shm transport_net_socket transport_net_ib ib_absent gdr_dmabuf
    """.split()
)


#: Classes that only state a fact; nobody has to act.
FACTS = {name for name in CLASSES if {item.severity for item in SIGNATURES if item.class_ == name} == {INFO}}


def test_every_labelled_class_is_known() -> None:
    assert set(CLASSES) >= LABELLED


def test_a_class_of_our_own_is_told_without_a_name() -> None:
    assert all(CLASSES[name].unnamed for name in set(CLASSES) - LABELLED - FACTS)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_answers_a_known_check_with_cause_and_remedy(name: str) -> None:
    fault: FaultClass = CLASSES[name]
    assert fault.check in CHECKS
    assert fault.summary
    if name not in FACTS:
        assert fault.cause.endswith(".")
        assert fault.remedy.endswith((".", ")"))


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda item: f"{item.class_}: {item.needle}")
def test_a_signature_belongs_to_a_class_and_has_a_needle_for_the_sieve(signature: Signature) -> None:
    assert signature.class_ in CLASSES
    assert signature.severity in (ERROR, WARNING, INFO)
    # A shorter one would let every line of a large log through.
    assert len(signature.needle) >= 4


def test_no_two_signatures_are_the_same() -> None:
    patterns = [(item.class_, item.pattern.pattern) for item in SIGNATURES]
    assert len(patterns) == len(set(patterns))
