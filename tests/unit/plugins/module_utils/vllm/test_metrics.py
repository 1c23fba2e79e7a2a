# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import tracemalloc

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES


def parse(text: str) -> metrics.MetricSet:
    return metrics.parse([text.encode()])


def content(version: str, moment: str = "after") -> bytes:
    return (CAPTURES / f"vllm-{version}-tp2-http" / f"metrics-{moment}.prom").read_bytes()


@pytest.mark.parametrize("version", ["0.27", "0.32"])
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_metrics_of_a_real_server_in_pieces_of_any_size(version: str, size: int) -> None:
    data = content(version)
    scraped = metrics.parse(data[start : start + size] for start in range(0, len(data), size))
    assert scraped.sum("vllm:num_requests_running") == 0
    assert scraped.sum("vllm:generation_tokens_total") > 0
    assert dict(scraped.infos)["vllm:cache_config_info"]["kv_cache_size_tokens"] == "2097152"


def test_metrics_renamed_metric_is_found_by_its_current_name() -> None:
    old = parse('vllm:gpu_prefix_cache_hits{model_name="m"} 25\n')
    assert old.sum("vllm:prefix_cache_hits_total") == 25


def test_metrics_absent_metric_is_none() -> None:
    assert metrics.parse([]).sum("vllm:num_requests_running") is None


def test_metrics_sum_adds_engines() -> None:
    scraped = parse('vllm:num_requests_running{engine="0"} 1\nvllm:num_requests_running{engine="1"} 2')
    assert scraped.sum("vllm:num_requests_running") == 3


def test_metrics_escapes_timestamps_and_invalid_lines() -> None:
    running, waiting, finished = metrics.SUMMED[1], metrics.SUMMED[0], metrics.SUMMED[3]
    scraped = parse(
        'a_info{path="C:\\\\x\\"y\\n"} 1 1700000000\r\n'
        f"{running} NaN\n{waiting} not-a-number\n{{broken\n{finished}_created 3\n\xff\n"
    )
    assert scraped.infos == [("a_info", {"path": 'C:\\x"y\n'})]
    assert [scraped.sum(name) for name in (running, waiting, finished)] == [None, None, None]


def test_metrics_waiting_requests_are_added_up_by_reason() -> None:
    assert metrics.parse([content("0.32")]).waiting_by_reason == {"capacity": 0, "deferred": 0}
    name = metrics.WAITING_BY_REASON
    scraped = parse("".join(f'{name}{{engine="{n}",reason="capacity"}} {n + 1}\n' for n in range(2)))
    assert scraped.waiting_by_reason == {"capacity": 3}


def test_metrics_of_several_engines_are_added_or_kept_apart() -> None:
    lines = [f'vllm:num_requests_running{{engine="{number}",model_name="m"}} {number}' for number in (10, 9, 1)]
    found = metrics.parse([("\n".join(lines) + "\n").encode()])
    assert found.engines == ["1", "9", "10"]
    assert [found.sum("vllm:num_requests_running", engine) for engine in (None, "9", "2")] == [20.0, 9.0, None]


def test_metrics_number_of_engines_is_limited() -> None:
    lines = [f'vllm:num_requests_running{{engine="{number}"}} 1' for number in range(5000)]
    found = metrics.parse([("\n".join(lines) + "\n").encode()])
    assert len(found.engines) == metrics.MAX_ENGINES + 1
    assert found.sum("vllm:num_requests_running") == 5000


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([b"<html><body>Please log in</body></html>"], "not in Prometheus text format"),
        ([b"# x\n", *[b"vllm:x" * 1000] * 20], "line longer than 65536 bytes"),
    ],
)
def test_metrics_other_content_is_not_vllm(pieces: list[bytes], message: str) -> None:
    with pytest.raises(RequestFailed, match=message) as caught:
        metrics.parse(pieces)
    assert caught.value.reason == "not_vllm"


@pytest.mark.parametrize(
    "line", [b'vllm:x_bucket{le="1"} 1\n', b'vllm:request_success_total{r="1"} 1\n', b'x_info{a="1"} 1\n']
)
def test_metrics_memory_does_not_depend_on_the_size(line: bytes) -> None:
    piece = line * 1000
    tracemalloc.start()
    try:
        metrics.parse(itertools.repeat(piece, 50))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024 < 50 * len(piece)
