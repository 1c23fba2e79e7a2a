# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the ways in which a request to a vLLM server can fail, each with its cause and remedy."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Reason
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import MASK, mask_line

#: Summary, cause and remedy by reason ID. Failed requests are counted by reason ID.
REASONS: t.Final[dict[str, Reason]] = {
    "connection_refused": Reason(
        "connection refused",
        "Nothing listens on this address and port.",
        "Start vLLM, or correct the host and port in base_url.",
    ),
    "connection_reset": Reason(
        "connection reset",
        "The server dropped the connection before it answered.",
        "See the vLLM log: the engine or an API worker probably died.",
    ),
    "name_not_resolved": Reason(
        "host name not found",
        "The host name in base_url does not resolve on this node.",
        "Correct base_url, or use an IP address.",
    ),
    "unreachable": Reason(
        "host unreachable",
        "There is no route to the address in base_url, or a firewall drops the packets.",
        "Check base_url, the firewall and whether vLLM listens on this interface (--host).",
    ),
    "connect_timeout": Reason(
        "connect timed out",
        "The address did not accept a connection in time, often because a firewall drops packets.",
        "Check base_url and the firewall.",
    ),
    "tls": Reason(
        "TLS failed",
        "The TLS handshake failed: wrong certificate, unknown authority, or a server that speaks plain HTTP.",
        "Use http:// for a server without TLS, or set ca_path for a private authority.",
    ),
    "first_byte_timeout": Reason(
        "no response in time",
        "The server accepted the request but sent no response.",
        "Look for a hanging worker in the vLLM log (shm_broadcast, NCCL), or raise timeout if the queue is long.",
    ),
    "stream_timeout": Reason(
        "stream stalled",
        "The server stopped in the middle of its response.",
        "Look for a hanging or preempted worker in the vLLM log.",
    ),
    "closed_early": Reason(
        "stream ended early",
        "The server closed the connection in the middle of its response.",
        "See the vLLM log: the engine probably died during the request.",
    ),
    "malformed_stream": Reason(
        "unreadable stream",
        "The response is not the event stream that vLLM sends.",
        "Check that base_url points at vLLM itself and that no proxy rewrites the response.",
    ),
    "not_vllm": Reason(
        "not a vLLM response",
        "The server sent a response that is not JSON, for example an HTML page.",
        "Check that base_url points at vLLM itself, not at a web server or a login page.",
    ),
    "unauthorized": Reason(
        "API key refused",
        "The server requires an API key and did not accept this one.",
        "Set api_key to the key that vLLM was started with (--api-key or VLLM_API_KEY).",
    ),
    "model_not_found": Reason(
        "model not served",
        "The server does not serve a model with this name.",
        "Use a name that /v1/models lists, or leave model unset to use the first one.",
    ),
    "not_found": Reason(
        "path not found",
        "The server has no such path.",
        "Check base_url: it must be the root URL of the server, without /v1.",
    ),
    "bad_request": Reason(
        "request refused",
        "The server refused the request as invalid.",
        "See the server's message; usually, the prompt and the output exceed max_model_len.",
    ),
    "rate_limited": Reason(
        "rate limited",
        "The server, or a proxy in front of it, limits the request rate (HTTP 429).",
        "Probe vLLM directly on the node, or lower the concurrency.",
    ),
    "unavailable": Reason(
        "not ready",
        "The server is still starting, or a proxy has no healthy backend (HTTP 503).",
        "Wait until /health returns 200, then run again.",
    ),
    "sleeping": Reason(
        "the engine sleeps",
        "The engine was put to sleep (POST /sleep), so its weights are not on the GPUs and requests get no response.",
        "Wake it up with POST /wake_up, then run again. After sleep level 2, the weights must be loaded again as well.",
    ),
    "server_error": Reason(
        "server error",
        "The server failed while it handled the request (HTTP 5xx).",
        "See the vLLM log for the traceback.",
    ),
    "cut_short": Reason(
        "output cut short",
        "The server sent fewer tokens than requested; newer vLLM truncates silently at max_model_len.",
        "Keep prompt_tokens + output_tokens within max_model_len.",
    ),
    "too_many_tokens": Reason(
        "more tokens than requested",
        "The server ignores max_tokens, so its response may never end.",
        "Check that base_url points at vLLM itself and that no proxy changes max_tokens.",
    ),
    "corrupted": Reason(
        "NaN in the logits",
        "The model computed NaN (not a number), so the output of these requests is meaningless. Usual causes: weights "
        "or a KV cache in an unsuitable number format, a faulty kernel, or a GPU with memory errors.",
        "Check the GPUs for ECC and Xid errors. Start vLLM with --dtype bfloat16 and --kv-cache-dtype auto; if that "
        "helps, report the format to vLLM. Otherwise, download the weights again.",
    ),
    "time_limit": Reason(
        "time limit reached",
        "The load test did not finish within its time limit.",
        "Raise the time limit, or measure fewer or shorter steps.",
    ),
}


class RequestFailed(Exception):
    """A request to a vLLM server failed.

    ``reason`` is a key of ``REASONS``. ``detail`` is the message from the server or the operating system, shortened and
    without secrets. ``status`` is the HTTP status, or None if there was no response.
    """

    def __init__(self, reason: str, detail: str = "", status: int | None = None) -> None:
        detail = mask_line(detail)
        self.reason, self.detail, self.status = reason, detail, status
        explanation = REASONS[reason]
        self.cause, self.remedy = explanation.cause, explanation.remedy
        # The operating system's message is often identical to the summary; in that case, omit the message.
        is_repeated = detail.lower() in ("", explanation.summary)
        super().__init__(explanation.summary if is_repeated else f"{explanation.summary}: {detail}")

    def without(self, secret: str | None) -> RequestFailed:
        """Return this failure with ``secret`` masked in its detail, because a server may repeat the key it received."""
        if not secret or secret not in self.detail:
            return self
        return RequestFailed(self.reason, self.detail.replace(secret, MASK), self.status)
