# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the answers of a real server under several conditions, and summarise how far they are from a reference."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import typing as t
import urllib.request
from collections.abc import Iterator, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.output.distance import compare
from ansible_collections.multigpu.vllm.plugins.module_utils.output.recording import record
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

Recording = dict[str, t.Any]
Row = dict[str, t.Any]


@contextlib.contextmanager
def other_requests(url: str, model: str, count: int) -> Iterator[None]:
    """Keep ``count`` requests running, so that batches are larger than those of the prompts alone."""
    stop = threading.Event()
    body = json.dumps({"model": model, "prompt": "one two three", "max_tokens": 200, "ignore_eos": True}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})

    def load() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60) as response:
                response.read()

    threads = [threading.Thread(target=load, daemon=True) for _number in range(count)]
    for thread in threads:
        thread.start()
    if count:
        time.sleep(1)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def recordings(
    url: str, model: str, loads: Sequence[int], seeds: Sequence[int], deadline: float = float("inf")
) -> list[Recording]:
    """Return one recording for each number of other requests and each seed, until ``deadline`` (monotonic time)."""
    result: list[Recording] = []
    with VllmApi(url, timeout=120) as api:
        length = api.models()[0].get("max_model_len")
        with contextlib.suppress(RequestFailed):  # the first request compiles kernels
            api.completion(model, "warm up", 8)
        for load in loads:
            with other_requests(url, model, load):
                for seed in seeds:
                    if time.monotonic() > deadline:
                        return result
                    begun = time.monotonic()
                    answers = record(api, model, length, seed=seed)
                    seconds = round(time.monotonic() - begun, 2)
                    result.append({"load": load, "seed": seed, "seconds": seconds, "answers": answers})
    return result


def distances(measured: Sequence[Recording], reference: Sequence[Recording]) -> Iterator[Row]:
    """Yield one row for each prompt of each recording, compared with the first reference for the same seed."""
    first: dict[int, Recording] = {}
    for item in reference:
        first.setdefault(item["seed"], item)
    for item in measured:
        for row in compare(item["answers"], first[item["seed"]]["answers"] if item["seed"] in first else []):
            yield {"load": item["load"], "seed": item["seed"], **figures(row)}


def figures(row: Row) -> Row:
    """Return the means of a comparison instead of all its positions."""
    values, spreads = row.pop("distances") or [], row.pop("spreads", [])
    return {
        **row,
        "positions": len(values),
        "mean": sum(values) / len(values) if values else None,
        "largest": max(values, default=None),
        "spread": sum(spreads) / len(spreads) if spreads else None,
    }


def summary(rows: Sequence[Row]) -> Row:
    """Return the figures of one server over all prompts."""
    means = [row["mean"] for row in rows if row["mean"] is not None]
    relative = [row["mean"] / row["spread"] for row in rows if row["mean"] is not None and row["spread"]]
    margins = [row["divergence"]["margins"] for row in rows if row.get("divergence")]
    return {
        "comparisons": len(rows),
        "mean": sum(means) / len(means) if means else None,
        "least": min(means, default=None),
        "worst": max(means, default=None),
        "least_relative": min(relative, default=None),
        "worst_relative": max(relative, default=None),
        "flips": len(margins),
        "largest_margin": max((value for pair in margins for value in pair if value is not None), default=None),
    }
