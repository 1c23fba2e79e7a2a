# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the ``output_check`` module: record the answers of a server, judge them, and compare them."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts, not_tested
from ansible_collections.multigpu.vllm.plugins.module_utils.output import judge
from ansible_collections.multigpu.vllm.plugins.module_utils.output.recording import Answer, record
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MetricSet
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import checked_base_url, server_options
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import CHECK_MODE

Result = dict[str, t.Any]

ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    **server_options(base_url_required=True),
    "model": {"type": "str"},
    "seed": {"type": "int", "default": 0},
    "test": {"type": "str", "choices": ["always", "auto"], "default": "always"},
    "reference": {"type": "dict"},
    "reference_url": {"type": "str"},
}
MUTUALLY_EXCLUSIVE: t.Final = [("reference", "reference_url")]

CORRUPTED: t.Final = "vllm:corrupted_requests_total"
#: Metrics of the requests that a server processes.
BUSY: t.Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def run(
    options: Mapping[str, t.Any], connect: Callable[[str], VllmApi] | None = None, *, check_mode: bool = False
) -> Result:
    """Return the module's result.

    :param options: the module's parameters.
    :param connect: returns the client for a base URL; tests replace it.
    :param check_mode: whether to send no request.
    :raises ValueError: if an option is invalid.
    """
    if check_mode:
        return without_test(CHECK_MODE)
    secure = {name: options[name] for name in ("api_key", "timeout", "ca_path", "validate_certs")}
    for url in (options["base_url"], options["reference_url"]):
        checked_base_url(url, options["api_key"], options["ca_path"], options["timeout"])
    connect = connect or (lambda url: VllmApi(url, **secure))
    recording, corrupted, reason = _recorded(options, options["base_url"], connect)
    if recording is None:
        return without_test(str(reason))
    valid = judge.valid(recording["answers"], corrupted)
    reference, source = options["reference"], "the given recording"
    if options["reference_url"]:
        source = options["reference_url"]
        reference, _corrupted, reason = _recorded({**options, "test": "always"}, source, connect)
    if not reference:
        missing = f"{source}: {reason}" if reason else "there is no reference to compare with"
        return _result(recording, [valid, not_tested(judge.REFERENCE, missing)], [])
    rows = judge.comparison(recording["answers"], answers_of(reference))
    return _result(recording, [valid, judge.reference(rows, source)], rows)


def answers_of(recording: t.Any) -> list[Answer]:
    """Return the answers in a recording that a user supplies or a file contains.

    :raises ValueError: if it is not a recording of this module.
    """
    try:
        answers = [dict(item) for item in recording["answers"]]
        for item in answers:
            if "error" not in item:
                sizes = [(len(place["tokens"]), len(place["logprobs"])) for key in _LISTS for place in item[key]]
                if not all(first == second > 0 for first, second in sizes) or not isinstance(item["prompt"], str):
                    raise ValueError("tokens and logprobs")
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"reference must be the recording that output_check returned; it has no {error}") from error
    return answers


_LISTS: t.Final = ("scored", "generated")


def _recorded(
    options: Mapping[str, t.Any], url: str, connect: Callable[[str], VllmApi]
) -> tuple[Result | None, float | None, str | None]:
    """Return the recording of a server and the corrupted requests that it counted, or the reason why there is none."""
    with connect(url) as api:
        try:
            models = api.models()
            served = next((item for item in models if options["model"] in (None, item.get("id"))), None)
            if served is None:
                raise RequestFailed("model_not_found", str(options["model"] or "the server lists no model"))
            if api.is_sleeping():
                raise RequestFailed("sleeping")
            before = api.metrics()
            if options["test"] == "auto" and (count := _total(before, *BUSY)):
                return None, None, f"the server processes {count:.0f} other requests"
            version = None
            with contextlib.suppress(RequestFailed):
                version = api.version()
            answers = record(api, served["id"], served.get("max_model_len"), options["seed"])
            corrupted = _total(api.metrics(), CORRUPTED) - _total(before, CORRUPTED)
        except RequestFailed as failure:
            return None, None, str(failure)
    recording = {
        "model": str(served.get("root") or served["id"]),
        "vllm_version": version,
        "seed": options["seed"],
        "answers": answers,
    }
    return recording, corrupted, None


def _total(metrics: MetricSet | None, *names: str) -> float:
    return sum(metrics.sum(name) or 0.0 for name in names) if metrics else 0.0


def without_test(reason: str) -> Result:
    """Return the module's result for a server that was not asked. ``reason`` is shown to the user."""
    return _result(None, [not_tested(check, reason) for check in (judge.VALID, judge.REFERENCE)], [])


def _result(recording: Result | None, findings: list[Finding], rows: list[judge.Row]) -> Result:
    return {
        "recording": recording,
        "comparison": rows,
        "deviation": judge.deviation(rows),
        "findings": as_dicts(findings),
    }
