# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``vllm bench serve`` in a process that stays alive, because importing vLLM takes longer than most measurements.

As a script it reads one job per line of standard input (``url``, ``model``, ``tokenizer``, ``streams``, ``folder`` as
JSON) and answers each with a line of JSON. The job's output is written to ``folder/benchSTREAMS.txt`` and ``.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

PROMPT = OUTPUT = 128
#: Results that are kept: tok/s, and milliseconds.
KEYS = (
    "completed",
    "failed",
    "output_throughput",
    "median_ttft_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "mean_itl_ms",
    "median_itl_ms",
)


class Bench:
    """The client of one such process. Use as a context manager."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def run(self, url: str, model: str, tokenizer: Path, streams: int, folder: Path) -> dict[str, t.Any]:
        """Return ``KEYS`` of ``streams`` concurrent requests (three for a single stream), or ``error``."""
        job = {"url": url, "model": model, "tokenizer": str(tokenizer), "streams": streams, "folder": str(folder)}
        assert self._process.stdin and self._process.stdout
        try:
            print(json.dumps(job), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return {"error": f"the benchmark process ended, see {self._log.name}"}


def options_of(job: dict[str, t.Any]) -> list[str]:
    streams = job["streams"]
    options = {
        "backend": "openai",
        "base-url": job["url"],
        "endpoint": "/v1/completions",
        "model": job["model"],
        "tokenizer": job["tokenizer"],
        "dataset-name": "random",
        "random-input-len": PROMPT,
        "random-output-len": OUTPUT,
        # A second round of prompts would be prefilled between the tokens of the first.
        "num-prompts": max(3, streams),
        "max-concurrency": streams,
        # Different prompts for each number of streams, so that none is found in the prefix cache.
        "seed": streams,
        "percentile-metrics": "ttft,tpot,itl",
        "result-dir": job["folder"],
        "result-filename": f"bench{streams}.json",
    }
    pairs = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [*pairs, "--ignore-eos", "--save-result", "--disable-tqdm"]


def main() -> None:
    # vLLM also logs to standard output, while it is imported for example.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from vllm.benchmarks.serve import add_cli_args
    from vllm.benchmarks.serve import main as bench
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser: argparse.ArgumentParser = FlexibleArgumentParser()
    add_cli_args(parser)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            with Path(job["folder"], f"bench{job['streams']}.txt").open("w") as log, contextlib.redirect_stdout(log):
                result = bench(parser.parse_args(options_of(job)))
            answer = {key: round(result[key], 3) for key in KEYS}
        except (Exception, SystemExit) as error:  # noqa: BLE001 the job is reported as failed and the next one runs
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
