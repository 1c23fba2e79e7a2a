# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the NCCL settings chosen from topology and measurements."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.judge import WITHOUT_PEER_ACCESS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import (
    Link,
    link_of,
    nccl_settings,
    peer_access_off,
)

V33 = (0, 33, 0)
V10 = (0, 10, 0)


def topology(size: int, kind: str | None, peer: str | None = None) -> dict[str, t.Any]:
    """A topology whose pairs all have the same connection; without ``peer``, peer access is unknown."""

    def square(cell: str | None) -> list[list[str | None]]:
        return [["X" if row == column else cell for column in range(size)] for row in range(size)]

    return {"matrix": square(kind), "p2p": square(peer) if peer else None}


NVLINK, SWITCH, SOCKET, SOCKETS, VM = (
    topology(4, "NV4", "OK"),
    topology(4, "PIX", "OK"),
    topology(4, "PHB", "OK"),
    topology(4, "SYS", "OK"),
    topology(4, "PHB", "NS"),
)
UNKNOWN = topology(4, None)
#: Two GPUs behind one switch, the third on the other socket.
MIXED = {"matrix": [["X", "PIX", "SYS"], ["PIX", "X", "SYS"], ["SYS", "SYS", "X"]], "p2p": None}

PCIE_ALL_REDUCE = {"VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC": "1"}

#: Name, topology, measured bandwidths, version, expected variables in addition to NCCL_DEBUG.
CASES: list[tuple[str, dict[str, t.Any] | None, dict[str, float | None], tuple[int, ...], dict[str, str]]] = [
    ("NVLink needs nothing", NVLINK, {}, V33, {}),
    ("NVLink is used even if the driver denies peer access", topology(4, "NV4", "NS"), {}, V33, {}),
    ("one switch needs nothing", SWITCH, {}, V33, {}),
    ("same socket, not measured: NCCL chooses", SOCKET, {}, V33, {}),
    ("same socket, peer access faster", SOCKET, {"default": 20e9, "p2p_off": 9e9}, V33,
     {"NCCL_P2P_LEVEL": "PHB", **PCIE_ALL_REDUCE}),
    ("same socket, version without FlashInfer's all-reduce", SOCKET, {"default": 20e9, "p2p_off": 9e9}, (0, 31, 2),
     {"NCCL_P2P_LEVEL": "PHB"}),
    ("same socket, within the noise", SOCKET, {"default": 20e9, "p2p_off": 19.8e9}, V33, {}),
    ("same socket, host memory faster", SOCKET, {"default": 5e9, "p2p_off": 9e9}, V10, {"NCCL_P2P_DISABLE": "1"}),
    ("one switch, peer access faster: NCCL uses it anyway", SWITCH, {"default": 20e9, "p2p_off": 9e9}, V33,
     PCIE_ALL_REDUCE),
    ("NVLink, peer access faster", NVLINK, {"default": 270e9, "p2p_off": 27e9}, V33, {}),
    ("across sockets, not measured: NCCL chooses", SOCKETS, {}, V33, {}),
    ("across sockets, peer access faster", SOCKETS, {"default": 12e9, "p2p_off": 6e9}, V33, {"NCCL_P2P_LEVEL": "SYS"}),
    ("NODE is across host bridges", topology(4, "NODE", "OK"), {"default": 12e9, "p2p_off": 6e9}, V33,
     {"NCCL_P2P_LEVEL": "SYS", **PCIE_ALL_REDUCE}),
    ("a level needs the driver's confirmation", topology(4, "PHB"), {"default": 20e9, "p2p_off": 9e9}, V33, {}),
    ("VM without peer access", VM, {}, V33, {"NCCL_P2P_DISABLE": "1", "VLLM_SKIP_P2P_CHECK": "0"}),
    ("VM, version that tests peer access", VM, {}, V10, {"NCCL_P2P_DISABLE": "1"}),
    ("peer access reported and broken", SOCKET, {"default": None, "p2p_off": 8e9}, V33,
     {"NCCL_P2P_DISABLE": "1", "VLLM_SKIP_P2P_CHECK": "0"}),
    ("shared memory broken", SOCKET, {"default": None, "p2p_off": None, "shm_off": 8e9}, V33,
     {"NCCL_SHM_DISABLE": "1"}),
    ("cuMem broken", SOCKET, {"default": None, "p2p_off": None, "cumem_off": 8e9}, V33, {"NCCL_CUMEM_ENABLE": "0"}),
    ("cuMem broken, version that never uses it", SOCKET, {"default": None, "cumem_off": 8e9}, V10, {}),
    ("everything broken: no variable fixes it", SOCKET, {"default": None, "p2p_off": None, "shm_off": None}, V33, {}),
    ("unknown topology: NCCL chooses", UNKNOWN, {}, V33, {}),
    ("no topology: NCCL chooses", None, {}, V33, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("measured_topology", "measured", "version", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_nccl_settings_set_a_variable_only_if_its_condition_holds(
    measured_topology: dict[str, t.Any] | None,
    measured: dict[str, float | None],
    version: tuple[int, ...],
    expected: dict[str, str],
) -> None:
    settings = nccl_settings(measured_topology, 4, version, measured)
    assert {setting.name: setting.value for setting in settings.environment} == {"NCCL_DEBUG": "INFO", **expected}
    assert all(setting.why for setting in settings.environment)


@pytest.mark.parametrize(
    ("size", "stages", "is_set"), [(2, 1, False), (4, 1, True), (4, 2, False), (8, 2, True), (6, 1, False)]
)
def test_nccl_settings_use_flashinfer_for_supported_tensor_parallel_sizes(size: int, stages: int, is_set: bool) -> None:
    measured = {"default": 20e9, "p2p_off": 9e9}
    settings = nccl_settings(topology(size, "PIX", "OK"), size, V33, measured, stages=stages)
    assert (set(PCIE_ALL_REDUCE) <= {setting.name for setting in settings.environment}) is is_set


def test_nccl_settings_never_disable_both_p2p_and_shm() -> None:
    speeds: tuple[float | None, ...] = (None, 5e9, 9e9)
    variants = ("default", "p2p_off", "shm_off", "cumem_off")
    links = (NVLINK, SWITCH, SOCKET, SOCKETS, VM, UNKNOWN, None)
    for link, values in itertools.product(links, itertools.product(speeds, repeat=4)):
        settings = nccl_settings(link, 4, V33, dict(zip(variants, values, strict=True)))
        assert not {"NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE"} <= {setting.name for setting in settings.environment}


def test_nccl_settings_of_one_gpu_are_empty() -> None:
    settings = nccl_settings(VM, 1, V33, infiniband=False)
    assert (settings.environment, settings.arguments) == ((), ())


@pytest.mark.parametrize(("infiniband", "expected"), [(False, ["1"]), (True, []), (None, [])])
def test_nccl_settings_disable_infiniband_only_if_absent(infiniband: bool | None, expected: list[str]) -> None:
    settings = nccl_settings(NVLINK, 4, V33, infiniband=infiniband)
    assert [setting.value for setting in settings.environment if setting.name == "NCCL_IB_DISABLE"] == expected


@pytest.mark.parametrize(("size", "expected"), [(2, ["disable_custom_all_reduce"]), (4, [])])
def test_nccl_settings_disable_custom_all_reduce_with_two_gpus(size: int, expected: list[str]) -> None:
    assert [setting.name for setting in nccl_settings(topology(size, "PHB", "NS"), size, V33).arguments] == expected


#: What p2p_check returns for two faulty GPUs.
FAULT = {
    "settings": {"environment": dict(WITHOUT_PEER_ACCESS), "arguments": ["--disable-custom-all-reduce"]},
    "findings": [{"summary": "A transfer between GPUs never ends: GPU 0 to GPU 1"}],
}
FINE = {"settings": {"environment": {}, "arguments": []}, "findings": [{"summary": "all data was right"}]}
SYMMETRIC, FLASHINFER, PCIE = tuple(WITHOUT_PEER_ACCESS)[2], tuple(WITHOUT_PEER_ACCESS)[1], tuple(PCIE_ALL_REDUCE)[0]


@pytest.mark.parametrize(
    ("version", "known"),
    [
        (V33, {SYMMETRIC, FLASHINFER, PCIE}),
        ((0, 29, 0), {SYMMETRIC, FLASHINFER}),
        ((0, 16, 0), {SYMMETRIC}),
        (V10, set()),
    ],
)
@pytest.mark.parametrize("link", [NVLINK, SWITCH, None])
def test_nccl_settings_of_faulty_peer_access_avoid_it_everywhere(
    link: dict[str, t.Any] | None, version: tuple[int, ...], known: set[str]
) -> None:
    measured = {"default": 20e9, "p2p_off": 9e9}
    settings = nccl_settings(link, 4, version, measured, peer_data=FAULT)
    values = {setting.name: setting.value for setting in settings.environment}
    assert values["NCCL_P2P_DISABLE"] == "1"
    assert {name: values.get(name) for name in (SYMMETRIC, FLASHINFER, PCIE)} == {
        name: "0" if name in known else None for name in (SYMMETRIC, FLASHINFER, PCIE)
    }
    assert "NCCL_P2P_LEVEL" not in values
    assert [setting.name for setting in settings.arguments] == ["disable_custom_all_reduce"]
    reasons = {setting.why for setting in settings.environment if setting.name in {"NCCL_P2P_DISABLE", *known}}
    assert reasons == {"Tested: A transfer between GPUs never ends: GPU 0 to GPU 1."}


def test_peer_access_stays_on_unless_a_test_proves_a_fault() -> None:
    assert nccl_settings(NVLINK, 4, V33, peer_data=FINE) == nccl_settings(NVLINK, 4, V33)
    assert peer_access_off(NVLINK, 4, peer_data=FINE) is None
    assert "GPU 0 to GPU 1" in str(peer_access_off(NVLINK, 4, peer_data=FAULT))


@pytest.mark.parametrize(
    ("measured_topology", "size", "expected"),
    [
        (NVLINK, 4, Link("NVL", True)),
        (SOCKET, 2, Link("PHB", True)),
        (VM, 4, Link("PHB", False)),
        (UNKNOWN, 4, Link(None, None)),
        (MIXED, 3, Link("SYS", None)),
        (MIXED, 2, Link("PIX", None)),
        (topology(2, "PIX", "U"), 2, Link("PIX", None)),
        ({"matrix": [["X", "PIX"], ["PIX", "X"]], "p2p": [["X", "OK"], ["NS", "X"]]}, 2, Link("PIX", False)),
        (topology(2, "PIX"), 4, Link(None, None)),
    ],
)  # fmt: skip
def test_link_of_is_the_farthest_pair_in_use(measured_topology: dict[str, t.Any], size: int, expected: Link) -> None:
    assert link_of(measured_topology, size) == expected


@pytest.mark.parametrize(
    ("measured_topology", "text"),
    [
        (NVLINK, "NVLink"),
        (SOCKET, "same socket, with peer"),
        (SOCKETS, "across sockets"),
        (VM, "without peer"),
        (None, "unknown"),
    ],
)
def test_nccl_settings_note_names_the_interconnect(measured_topology: dict[str, t.Any] | None, text: str) -> None:
    assert text in nccl_settings(measured_topology, 4, V33).note
