# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics, parallel_signals
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import (
    Layout,
    Observations,
    Reading,
    Signal,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import Worker
from ansible_collections.multigpu.vllm.tests.support import observations as make

GIB = make.GIB


def signal(name: str, observed: Observations) -> Signal:
    return next(candidate for candidate in parallel_signals.collect(observed) if candidate.name == name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vllm-0.32.0-tp2-76d34e85", ("0.32.0", {"tp": 2})),
        ("vllm-0.32.0-1791244a", ("0.32.0", {})),
        ("vllm-0.33.0rc1.dev5+gabc-tp4-pp2-dp2-ep-nohash", ("0.33.0rc1.dev5+gabc", {"tp": 4, "pp": 2, "dp": 2})),
        ("vllm-0.30.0-L4-tp2-bf16-76d34e85", ("0.30.0", {"tp": 2})),
        ("fp_44709d6fcb", (None, {})),
        ("my own text", (None, {})),
    ],
)
def test_parse_fingerprint_reads_version_and_sizes(text: str, expected: tuple[str | None, dict[str, int]]) -> None:
    assert parallel_signals.parse_fingerprint(text) == expected


@pytest.mark.parametrize(
    ("fingerprint", "value", "reason"),
    [
        ("vllm-0.32.0-tp2-76d34e85", 2, None),
        ("vllm-0.32.0-pp2-76d34e85", 1, None),
        ("vllm-0.32.0-76d34e85", None, "all sizes are 1, or --fingerprint-mode hides them"),
        ("vllm-0.26.0-tp4-76d34e85", 4, None),
        ("fp_44709d6fcb", None, "not a fingerprint in vLLM's format"),
        (None, None, "not requested"),
    ],
)
def test_fingerprint_signal(fingerprint: str | None, value: int | None, reason: str | None) -> None:
    result = signal("system_fingerprint", make.observations(server=make.server(fingerprint)))
    assert result.value == value
    assert (result.reason or "") == "" if reason is None else reason in (result.reason or "")


@pytest.mark.parametrize(
    ("facts", "sizes"),
    [
        ({"tensor_parallel_size": 1, "pipeline_parallel_size": 4, "world_size": 4}, (1, 4, None)),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "world_size": 4}, (2, 2, None)),
        ({"tensor_parallel_size": 1, "data_parallel_size": 4}, (1, None, 4)),
    ],
)
def test_compare_hidden_sizes_are_read_from_the_log(facts: dict[str, t.Any], sizes: tuple[int | None, ...]) -> None:
    observed = make.observations(server=make.server("vllm-0.32.0-76d34e85"), engine=make.engine(**facts))
    layout = parallel_signals.compare(observed).layout
    assert (layout.tensor, layout.pipeline, layout.data) == sizes
    assert layout.gpus == math.prod(size or 1 for size in sizes)


def test_compare_hidden_sizes_without_another_source_are_unknown() -> None:
    layout = parallel_signals.compare(make.observations(server=make.server("vllm-0.32.0-76d34e85"))).layout
    assert (layout.tensor, layout.pipeline, layout.data, layout.gpus) == (None, None, None, None)


@pytest.mark.parametrize(
    ("command", "pipeline"),
    [("vllm serve m -tp 2", 1), ("vllm serve m -tp 2 -pp 2", 2), ("vllm serve m -tp 2 --config serve.yaml", None)],
)
def test_compare_arguments_without_a_size_mean_the_default(command: str, pipeline: int | None) -> None:
    assert parallel_signals.compare(make.observations(process=make.process(command))).layout.pipeline == pipeline


@pytest.mark.parametrize(
    ("command", "value", "reason"),
    [
        ("vllm serve m --tensor-parallel-size 4", 4, None),
        ("vllm serve m", 1, None),
        ("vllm serve m --config serve.yaml", None, "the options are in the file serve.yaml"),
    ],
)
def test_argument_signals_of_process_and_container(command: str, value: int | None, reason: str | None) -> None:
    observed = make.observations(process=make.process(command), container=make.running_container(command))
    for name in ("process_arguments", "container_arguments"):
        assert (signal(name, observed).value, signal(name, observed).reason) == (value, reason)


def test_container_signal_other_command_has_no_value() -> None:
    observed = make.observations(
        container=Reading(ContainerFacts("vllm", ("/entrypoint.sh",)), source="container vllm")
    )
    assert signal("container_arguments", observed).reason == "its command line does not start vLLM directly"


def test_worker_signal_counts_ranks_in_titles() -> None:
    assert signal("worker_processes", make.observations(process=make.process("vllm serve m -tp 4", 4))).value == 4
    nameless = make.process()
    assert nameless.value is not None
    object.__setattr__(nameless.value, "workers", (Worker(100, "VLLM::Worker"),))
    assert signal("worker_processes", make.observations(process=nameless)).reason is not None


@pytest.mark.parametrize(
    ("facts", "name", "value"),
    [
        ({"tensor_parallel_size": 4}, "engine_log", 4),
        ({"boots": 1}, "engine_log", None),
        ({"world_size": 4}, "log_ranks", 4),
        ({"boots": 1}, "log_ranks", None),
        ({"worker_ranks": [0, 1, 2, 3]}, "log_workers", 4),
        ({"worker_ranks": [0, 3]}, "log_workers", 4),
        ({"worker_ranks": [0]}, "log_workers", None),
        ({"worker_ranks": []}, "log_workers", None),
    ],
)
def test_log_signals(facts: dict[str, t.Any], name: str, value: int | None) -> None:
    result = signal(name, make.observations(engine=make.engine(**facts)))
    assert result.value == value and (result.reason is None) == (value is not None)


def test_metrics_signal_reads_the_info_label() -> None:
    named = metrics.parse(
        [b'x_info{tensor_parallel_size="?"} 1\nvllm:parallel_config_info{tensor_parallel_size="4"} 1\n']
    )
    assert signal("metrics", make.observations(server=make.server(metrics=named))).value == 4
    silent = metrics.parse([b"vllm:num_requests_running 0\n"])
    assert "do not include" in (signal("metrics", make.observations(server=make.server(metrics=silent))).reason or "")
    absent = make.server(missing={"metrics": "the server has no /metrics"})
    assert signal("metrics", make.observations(server=absent)).reason == "the server has no /metrics"


@pytest.mark.parametrize(
    ("devices", "processes", "memory"),
    [
        # Two ranks on two of four GPUs.
        ([make.gpu(0, [100]), make.gpu(1, [101]), make.gpu(2, [], GIB), make.gpu(3, [], GIB)], 2, 2),
        # Memory on GPU 2 belongs to another program.
        ([make.gpu(0, [100]), make.gpu(1, [101]), make.gpu(2, [999])], 2, 2),
        # Inside a container the driver lists no processes.
        ([make.gpu(0, []), make.gpu(1, [])], None, 2),
        # No GPU holds a model.
        ([make.gpu(0, [], 0), make.gpu(1, [], 0)], None, None),
        # One GPU does not answer, so no GPUs can be counted.
        ([make.gpu(0, [100]), make.gpu(1, None, None)], None, None),
    ],
)
def test_gpu_signals_count_used_gpus(
    devices: list[dict[str, t.Any]], processes: int | None, memory: int | None
) -> None:
    observed = make.observations(process=make.process(ranks=2), gpus=make.gpus(*devices))
    for name, value in (("gpu_processes", processes), ("gpu_memory", memory)):
        result = signal(name, observed)
        assert result.value == value and (result.reason is None) == (value is not None)


def test_gpu_signal_without_server_process_uses_names() -> None:
    devices = [make.gpu(0, [100], names="VLLM::Worker_TP0"), make.gpu(1, [200], names="blender")]
    assert signal("gpu_processes", make.observations(gpus=make.gpus(*devices))).value == 1


def test_compare_without_facts_gives_every_signal_a_reason() -> None:
    agreement = parallel_signals.compare(make.observations())
    assert len(agreement.signals) == 11
    assert all(empty.value is None and empty.reason for empty in agreement.signals)
    assert agreement.layout.tensor is None and agreement.layout.world_size is None and agreement.layout.gpus is None
    assert agreement.counts == {"agreeing": 0, "obtained": 0, "dissenting": []}


def test_compare_uses_the_measure_of_each_signal() -> None:
    """With PP 2 x TP 2 x DP 2, the log shows 4 ranks per engine and 8 GPUs are in use."""
    observed = make.observations(
        server=make.server("vllm-0.32.0-tp2-pp2-dp2-76d34e85"),
        engine=make.engine(tensor_parallel_size=2, world_size=4),
        process=make.process("vllm serve m -tp 2 -pp 2 -dp 2", ranks=2),
        gpus=make.gpus(*(make.gpu(index, [100]) for index in range(8))),
    )
    agreement = parallel_signals.compare(observed)
    assert agreement.layout == Layout(2, 2, 2)
    assert agreement.layout.world_size == 8
    assert agreement.counts == {"agreeing": 7, "obtained": 7, "dissenting": []}


def test_compare_configuration_outranks_hidden_fingerprint_and_old_log() -> None:
    configuration = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 1, "nnodes": 1}
    observed = make.observations(
        server=make.server("vllm-0.32.0-76d34e85", configuration=configuration),
        engine=make.engine(tensor_parallel_size=4, pipeline_parallel_size=1, world_size=4),
        process=make.process("vllm serve m --config options.yml", ranks=4),
    )
    agreement = parallel_signals.compare(observed)
    assert agreement.layout == Layout(2, 2, 1)
    assert agreement.signal("server_info").value == 2
    assert agreement.counts["dissenting"] == ["engine_log"]


def test_compare_gpu_counts_agree_without_a_size() -> None:
    observed = make.observations(gpus=make.gpus(*(make.gpu(index, [1], names="vllm") for index in range(4))))
    agreement = parallel_signals.compare(observed)
    assert agreement.layout.tensor is None
    assert agreement.counts == {"agreeing": 2, "obtained": 2, "dissenting": []}


@pytest.mark.parametrize(
    ("layout", "gpus", "world"),
    [
        (Layout(4), 4, 4),
        (Layout(2, 2), 4, 4),
        (Layout(2, 1, 4, local_data=2), 4, 8),
        (Layout(8, 2, 1, nodes=2), 8, 16),
    ],
)
def test_layout_gpus_and_world_size(layout: Layout, gpus: int, world: int) -> None:
    assert (layout.gpus, layout.world_size) == (gpus, world)


def test_compare_majority_decides_and_dissent_is_named() -> None:
    observed = make.observations(
        server=make.server("vllm-0.32.0-tp4-76d34e85"),
        engine=make.engine(tensor_parallel_size=2),
        process=make.process("vllm serve m -tp 4", ranks=4),
    )
    agreement = parallel_signals.compare(observed)
    assert agreement.layout.tensor == 4
    assert agreement.counts == {"agreeing": 3, "obtained": 4, "dissenting": ["engine_log"]}
