# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transport for one attempt at one request to the Linode API.

It uses linode_api4, which sets no HTTP timeout and repeats POST requests by itself. Here every request has a timeout
and is sent exactly once; the caller, who knows whether repeating it is safe, decides about retries.
"""

from __future__ import annotations

import ipaddress
import math
import re
import traceback
import typing as t
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import ApiRequest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    ApiResponse,
    InvalidInput,
    RetriesExhausted,
    Transient,
    classify,
    plain_text,
)

try:
    import requests
    from linode_api4.errors import ApiError
    from linode_api4.linode_client import LinodeClient
    from requests.adapters import HTTPAdapter
except ImportError:
    LIBRARY_ERROR: str | None = traceback.format_exc()
else:
    LIBRARY_ERROR = None

#: Name and oldest supported version of the library, for the message if it is missing.
LIBRARY: t.Final = "linode_api4 >= 5.44"
DEFAULT_URL: t.Final = "https://api.linode.com/v4"

_METHODS: t.Final = {"GET": "get", "POST": "post", "PUT": "put", "DELETE": "delete"}


class _TimeoutAdapter:
    """A transport adapter for ``requests`` that gives every request a connect and a read timeout, in seconds."""

    def __init__(self, connect: float, read: float) -> None:
        self._adapter = HTTPAdapter(max_retries=0)
        self.connect = connect
        self.read = read
        self.limit: float | None = None

    def send(self, request: t.Any, **options: t.Any) -> t.Any:
        limit = math.inf if self.limit is None else self.limit
        options["timeout"] = (min(self.connect, limit), min(self.read, limit))
        return self._adapter.send(request, **options)

    def close(self) -> None:
        self._adapter.close()


def check_url(url: str) -> str:
    """Return ``url`` without a trailing slash, because the API responds to one with 404.

    :raises InvalidInput: if it is not an HTTP address, or would send the token unencrypted over a network.
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
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidInput(f"api_url {url!r} would send the token unencrypted; use https.")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(token: str | None) -> str:
    """Return ``token`` without surrounding white space. Error messages never contain it.

    :raises InvalidInput: if it is missing or cannot be sent in a header.
    """
    stripped = (token or "").strip()
    if not stripped:
        raise InvalidInput("No API token: set LINODE_API_TOKEN (or LINODE_TOKEN) in the environment, or api_token.")
    if not re.fullmatch(r"[!-~]+", stripped):
        raise InvalidInput("The API token is invalid: it contains white space or characters that no Linode token has.")
    return stripped


class LinodeTransport:
    """A transport that sends each request once and returns its JSON, or raises the error that the response means."""

    def __init__(
        self,
        token: str,
        url: str = DEFAULT_URL,
        ca_path: str | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
    ) -> None:
        self._client = LinodeClient(
            check_token(token), base_url=check_url(url), user_agent="multigpu.vllm", retry=False, ca_path=ca_path
        )
        session = self._client.session
        # An explicit callable keeps requests from replacing the token by a ~/.netrc entry.
        session.auth = lambda request: request
        self.mount(_TimeoutAdapter(connect_timeout, read_timeout))
        self._url = url

    def mount(self, adapter: t.Any) -> None:
        """Use ``adapter`` (a ``requests`` transport adapter with the attribute ``limit``) for all requests."""
        self._adapter = adapter
        self._client.session.mount("http://", adapter)
        self._client.session.mount("https://", adapter)

    def send(self, request: ApiRequest, timeout: float | None = None) -> dict[str, t.Any]:
        """Send ``request`` once and return its JSON object, empty for 204.

        ``timeout`` (seconds) lowers the configured timeouts for this request.

        :raises Transient: if the same request may succeed later.
        :raises Refused: if the API refuses the request.
        :raises RetriesExhausted: if TLS fails, because a retry cannot fix that.
        """
        self._adapter.limit = timeout
        call = getattr(self._client, _METHODS[request.method])
        try:
            result = call(request.path, data=request.data, filters=request.filters)
        except ApiError as error:
            raise classify(_error_response(request, error)) from error
        except (AttributeError, KeyError, TypeError) as error:
            # linode_api4 assumes the API's shape of an error list; the JSON of a proxy can have another one.
            raise self._unreadable(request, "has an unknown shape") from error
        except requests.exceptions.SSLError as error:
            text = f"TLS to {self._url} failed: {plain_text(str(error))}. Set ca_path for a private authority."
            raise RetriesExhausted(text) from error
        except requests.exceptions.JSONDecodeError as error:
            raise self._unreadable(request, "is not JSON") from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise self._unreachable(error) from error
        except requests.exceptions.ConnectionError as error:
            if "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error):
                raise self._unreachable(error) from error
            raise self._interrupted(request, error) from error
        except requests.exceptions.Timeout as error:
            raise Transient("interrupted", f"{request}: timed out", may_have_happened=True) from error
        except requests.exceptions.RequestException as error:
            raise self._interrupted(request, error) from error
        if result is None:
            return {}
        if not isinstance(result, dict):
            raise self._unreadable(request, "is not a JSON object")
        return result

    def _unreachable(self, error: Exception) -> Transient:
        return Transient("unreachable", f"{self._url} is unreachable: {plain_text(str(error))}")

    @staticmethod
    def _interrupted(request: ApiRequest, error: Exception) -> Transient:
        text = f"{request}: the connection was interrupted ({plain_text(str(error))})"
        return Transient("interrupted", text, may_have_happened=True)

    def _unreadable(self, request: ApiRequest, problem: str) -> Transient:
        text = f"{request}: the response {problem}; is {self._url} the Linode API?"
        return Transient("unreadable", text, may_have_happened=True)


def _error_response(request: ApiRequest, error: ApiError) -> ApiResponse:
    """Parse the API's error list from a response of any shape: the HTML page of a proxy has none."""
    listed = error.json.get("errors") if isinstance(error.json, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if entries:
        reasons = tuple(plain_text(str(entry.get("reason") or "")) for entry in entries)
        fields = tuple(str(entry.get("field") or "") for entry in entries)
    else:
        body = error.response.text if error.response is not None else ""
        reasons, fields = (plain_text(body),) if body else (), ("",) if body else ()
    headers = error.response.headers if error.response is not None else {}
    return ApiResponse(request.method, request.path, error.status, reasons, fields, headers.get("Retry-After"))
