# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to the Linode API, each exactly once.

By default, linode_api4 sets no HTTP timeout and repeats POST requests. In this module, every request has a timeout and
is sent exactly once. Only the caller knows whether a request can safely be repeated, so the caller decides whether to
retry.
"""

from __future__ import annotations

import functools
import re
import traceback
import typing as t
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.addresses import is_loopback
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import ApiRequest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    InvalidInput,
    LinodeError,
    RetriesExhausted,
    Transient,
    classify,
    plain_text,
)

try:
    import requests
    from linode_api4.errors import ApiError
    from linode_api4.linode_client import LinodeClient
    from requests.adapters import BaseAdapter, HTTPAdapter
except ImportError:
    LIBRARY_ERROR: str | None = traceback.format_exc()
else:
    LIBRARY_ERROR = None

#: Name and oldest supported version of the library, for the message if it is missing.
LIBRARY: t.Final = "linode_api4 >= 5.44"
DEFAULT_URL: t.Final = "https://api.linode.com/v4"


def check_url(url: str) -> str:
    """Validate ``url`` and remove any trailing slash, which would make the API respond with status 404.

    :raises InvalidInput: if ``url`` is not an HTTP address, or if the token would be sent unencrypted over a network.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _port = parts.port
    except ValueError as error:
        raise InvalidInput(f"api_url {url!r} is not a valid address: {error}.") from error
    if parts.username or parts.password:
        raise InvalidInput("api_url must not contain a user name or password; use api_token for the token.")
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput(f"api_url must be an http(s) address such as {DEFAULT_URL}, got {url!r}.")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidInput(f"api_url {url!r} would send the token unencrypted; use https.")
    return url.rstrip("/")


def check_token(token: str | None) -> str:
    """Return ``token`` without surrounding white space. Error messages never contain the token.

    :raises InvalidInput: if the token is missing or cannot be sent in a header.
    """
    stripped = (token or "").strip()
    if not stripped:
        raise InvalidInput("No API token: set LINODE_API_TOKEN (or LINODE_TOKEN) in the environment, or api_token.")
    if not re.fullmatch(r"[!-~]+", stripped):
        raise InvalidInput("The API token is invalid: it contains white space or characters that no Linode token has.")
    return stripped


class LinodeTransport:
    """Send each request once. Return the JSON in the response, or raise an error if the request fails.

    ``timeouts`` are the timeouts for connecting and for reading, in seconds.
    """

    def __init__(
        self, token: str, url: str = DEFAULT_URL, ca_path: str | None = None, timeouts: tuple[float, float] = (10, 60)
    ) -> None:
        self._client = LinodeClient(
            check_token(token), base_url=check_url(url), user_agent="multigpu.vllm", retry=False, ca_path=ca_path
        )
        self._session: t.Any = self._client.session
        # This function leaves the request unchanged. Without it, the requests library would replace the token
        # with a password from ~/.netrc.
        self._session.auth = lambda request: request
        self._request = self._session.request
        # Use HTTPAdapter instead of linode_api4's adapter, which reports a read timeout as a lost connection. By
        # default, HTTPAdapter does not repeat requests.
        self.mount(HTTPAdapter())
        self._timeouts = timeouts
        self._url = url

    def mount(self, adapter: BaseAdapter) -> None:
        """Send all requests through ``adapter``, a transport adapter of the requests library."""
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def send(self, request: ApiRequest, timeout: float | None = None) -> dict[str, t.Any]:
        """Send ``request`` once and return the JSON object in the response, or an empty dict for status 204.

        ``timeout`` (seconds) lowers the configured timeouts for this request.

        :raises Transient: if the same request may succeed later.
        :raises Refused: if the API refuses the request.
        :raises RetriesExhausted: if TLS fails, because a retry cannot fix that.
        """
        connect, read = (limit if timeout is None else min(limit, timeout) for limit in self._timeouts)
        self._session.request = functools.partial(self._request, timeout=(connect, read))
        call = getattr(self._client, request.method.lower())
        try:
            result = call(request.path, data=request.data, filters=request.filters)
        except ApiError as error:
            raise _api_error(request, error) from error
        except requests.exceptions.RequestException as error:
            raise self._connection_error(request, error) from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            # linode_api4 fails on an error list in an unknown format, for example from a proxy. Python fails on JSON
            # that is nested too deeply or has a number with thousands of digits.
            raise self._unreadable(request, "has an unknown format") from error
        if result is None:
            return {}
        if not isinstance(result, dict):
            raise self._unreadable(request, "is not a JSON object")
        return result

    def _connection_error(self, request: ApiRequest, error: requests.exceptions.RequestException) -> LinodeError:
        """Return the exception to raise if a request received no response or its response is not JSON."""
        cause = plain_text(str(error))
        if isinstance(error, requests.exceptions.SSLError):
            return RetriesExhausted(
                f"TLS to {self._url} failed: {cause}. Set ca_path for a private certificate authority."
            )
        if isinstance(error, requests.exceptions.JSONDecodeError):
            return self._unreadable(request, "is not JSON")
        not_connected = isinstance(error, (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError))
        if not_connected or re.search("NewConnectionError|NameResolutionError", repr(error)):
            return Transient("unreachable", f"{self._url} is unreachable: {cause}")
        timed_out = isinstance(error, requests.exceptions.Timeout)
        problem = "timed out" if timed_out else f"the connection was interrupted ({cause})"
        return Transient("interrupted", f"{request}: {problem}", may_have_happened=True)

    def _unreadable(self, request: ApiRequest, problem: str) -> Transient:
        text = f"{request}: the response {problem}; is {self._url} the Linode API?"
        return Transient("unreadable", text, may_have_happened=True)


def _api_error(request: ApiRequest, error: ApiError) -> LinodeError:
    """Return the exception for an error response, which may have no error list (for example a proxy's HTML page)."""
    # linode_api4 creates each ApiError from a response, so it is never None.
    response = t.cast("requests.Response", error.response)
    listed = error.json.get("errors") if isinstance(error.json, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    errors = [(str(entry.get("field") or ""), plain_text(str(entry.get("reason") or ""))) for entry in entries]
    if not errors and response.text:
        errors = [("", plain_text(response.text))]
    return classify(str(request), error.status, errors, response.headers.get("Retry-After"))
