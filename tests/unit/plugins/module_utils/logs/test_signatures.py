# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signatures are consistent. What they recognise is tested with the scanner."""

from __future__ import annotations

import re
import warnings

import hypothesis
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import (
    ERROR,
    INFO,
    SIGNATURES,
    SIGNIFICANT_NUMBERS,
    WARNING,
    Signature,
)
from hypothesis import strategies

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


#: Classes of which every signature only states a fact.
FACTS = {name for name in FAULTS if {item.severity for item in SIGNATURES if item.class_ == name} == {INFO}}

#: Checks of what a server answers, which no log shows.
ANSWERS = ("output.valid", "output.reference", "fleet.output")

#: Classes that have no signature: modules and rules on other data find them, and the scanner the last one.
WITHOUT_SIGNATURE = {
    *("nccl_paths_disabled", "mig_mode", "engine_stalled"),
    *(name for name in FAULTS if FAULTS[name].check in ("hardware.peer_data", *ANSWERS)),
    *(name for name in FAULTS if FAULTS[name].check.startswith(("group.", "network."))),
    "unrecognised_error",
}


def test_faults_has_every_labelled_class() -> None:
    assert set(FAULTS) >= LABELLED


def test_faults_without_a_label_are_unnamed_or_variants_of_a_label() -> None:
    others = [FAULTS[name] for name in set(FAULTS) - LABELLED - FACTS - WITHOUT_SIGNATURE]
    assert all(fault.unnamed or fault.variant_of in LABELLED for fault in others)


def test_every_fault_of_the_logs_has_a_signature() -> None:
    assert set(FAULTS) - {item.class_ for item in SIGNATURES} == WITHOUT_SIGNATURE


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda item: f"{item.class_}: {item.needle}")
def test_signature_has_a_class_and_a_needle(signature: Signature) -> None:
    assert signature.class_ in FAULTS
    assert signature.severity in (ERROR, WARNING, INFO)
    # A shorter needle would let every line of a large log through.
    assert len(signature.needle) >= 4


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda item: f"{item.class_}: {item.needle}")
def test_signature_every_match_contains_the_needle(signature: Signature) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = strategies.from_regex(signature.pattern)

    @hypothesis.settings(max_examples=5, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(texts)
    def check(text: str) -> None:
        assert not signature.pattern.search(text) or signature.needle in text

    check()


@pytest.mark.parametrize("needle", sorted({item.needle for item in SIGNATURES if re.search(r"\d", item.needle)}))
def test_significant_numbers_include_the_digits_of_needles(needle: str) -> None:
    """A line with another digit, such as "via P6P", must not count as another occurrence of the fault or fact."""
    others = [needle[: digit.start()] + "x" + needle[digit.end() :] for digit in re.finditer(r"\d", needle)]
    for other in others:
        found = [[pattern.findall(text.encode()) for pattern in SIGNIFICANT_NUMBERS] for text in (needle, other)]
        assert found[0] != found[1]


def test_signatures_are_unique() -> None:
    patterns = [(item.class_, item.pattern.pattern) for item in SIGNATURES]
    assert len(patterns) == len(set(patterns))
