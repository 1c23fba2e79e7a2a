# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One attempt at one request to the Linode API, through linode_api4, with the timeouts that it lacks.

linode_api4 sets no HTTP timeout and repeats POST requests by itself; here every request has a deadline and is sent
exactly once. Whether it is sent again is decided by the caller, who knows what it would do.
"""

from __future__ import annotations

import ipaddress
import math
import re
import traceback
import typing as t
from collections.abc import Mapping
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    ApiResponse,
    GaveUp,
    InvalidInput,
    Transient,
    classify,
    readable,
)

try:
    import requests
    from linode_api4 import ApiError, LinodeClient
    from requests.adapters import HTTPAdapter
except ImportError:
    LIBRARY_ERROR: str | None = traceback.format_exc()
    HTTPAdapter = object
else:
    LIBRARY_ERROR = None

#: Name and oldest version of the library, for the message where it is missing.
LIBRARY: t.Final = "linode_api4 >= 5.44"
DEFAULT_URL: t.Final = "https://api.linode.com/v4"

_METHODS: t.Final = {"GET": "get", "POST": "post", "PUT": "put", "DELETE": "delete"}


class _TimedAdapter(HTTPAdapter):
    """Gives every request of a session a connect and a read timeout, in seconds."""

    def __init__(self, connect: float, read: float) -> None:
        super().__init__(max_retries=0)
        self.connect = connect
        self.read = read
        self.within: float | None = None

    def send(self, request: t.Any, **options: t.Any) -> t.Any:
        left = math.inf if self.within is None else self.within
        options["timeout"] = (min(self.connect, left), min(self.read, left))
        return super().send(request, **options)


def check_url(url: str) -> str:
    """``url`` without a trailing slash, which the API answers with 404.

    :raises InvalidInput: where it is no HTTP address, or would send the token unencrypted over a network.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _port = parts.port
    except ValueError as error:
        raise InvalidInput(f"api_url {url!r} is not an address: {error}.") from error
    if parts.username or parts.password:
        raise InvalidInput("api_url must not contain a user name or password; the token goes into api_token.")
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput(f"api_url {url!r} is not an http(s) address, for example {DEFAULT_URL}.")
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
    """``token`` without surrounding white space; the message of the error never contains it.

    :raises InvalidInput: where it is missing or cannot be sent in a header.
    """
    cleaned = (token or "").strip()
    if not cleaned:
        raise InvalidInput("No API token: set LINODE_API_TOKEN (or LINODE_TOKEN) in the environment, or api_token.")
    if not re.fullmatch(r"[!-~]+", cleaned):
        raise InvalidInput("The API token contains white space or characters that no Linode token has.")
    return cleaned


class LinodeTransport:
    """Sends one request once and returns its JSON, or raises what :func:`classify` makes of the answer."""

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
        self.mount(_TimedAdapter(connect_timeout, read_timeout))
        self._url = url

    def mount(self, adapter: t.Any) -> None:
        """Use ``adapter`` (a ``requests`` transport adapter) for all requests."""
        self._adapter = adapter
        self._client.session.mount("http://", adapter)
        self._client.session.mount("https://", adapter)

    def send(
        self,
        method: str,
        path: str,
        data: Mapping[str, t.Any] | None = None,
        filters: Mapping[str, t.Any] | None = None,
        within: float | None = None,
    ) -> dict[str, t.Any]:
        """The JSON object of the answer (empty for 204); ``within``: seconds, where less than the timeouts are left.

        :raises Transient: where the same request may succeed later.
        :raises Refused: where the API said no.
        :raises GaveUp: where TLS fails, which repeating does not mend.
        """
        self._adapter.within = within
        call = getattr(self._client, _METHODS[method])
        try:
            result = call(path, data=data, filters=filters)
        except ApiError as error:
            raise classify(_answer(method, path, error)) from error
        except (AttributeError, KeyError, TypeError) as error:
            # linode_api4 takes the shape of an error list for granted; a proxy's JSON can have another one.
            raise self._unreadable(method, path, "has an unknown shape") from error
        except requests.exceptions.SSLError as error:
            text = f"TLS to {self._url} failed: {readable(str(error))}. A private authority needs ca_path."
            raise GaveUp(text) from error
        except requests.exceptions.JSONDecodeError as error:
            raise self._unreadable(method, path, "is not JSON") from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise self._unreachable(error) from error
        except requests.exceptions.ConnectionError as error:
            if "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error):
                raise self._unreachable(error) from error
            raise self._interrupted(method, path, error) from error
        except requests.exceptions.Timeout as error:
            raise Transient("interrupted", f"{method} {path}: no answer in time", may_have_happened=True) from error
        except requests.exceptions.RequestException as error:
            raise self._interrupted(method, path, error) from error
        if result is None:
            return {}
        if not isinstance(result, dict):
            raise self._unreadable(method, path, "is not a JSON object")
        return result

    def _unreachable(self, error: Exception) -> Transient:
        return Transient("unreachable", f"{self._url} cannot be reached: {readable(str(error))}")

    @staticmethod
    def _interrupted(method: str, path: str, error: Exception) -> Transient:
        text = f"{method} {path}: the connection broke ({readable(str(error))})"
        return Transient("interrupted", text, may_have_happened=True)

    def _unreadable(self, method: str, path: str, what: str) -> Transient:
        text = f"{method} {path}: the answer {what}; is {self._url} the Linode API?"
        return Transient("unreadable", text, may_have_happened=True)


def _answer(method: str, path: str, error: ApiError) -> ApiResponse:
    """The API's error list, from an answer of any shape: a proxy's HTML page has no list."""
    listed = error.json.get("errors") if isinstance(error.json, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if entries:
        reasons = tuple(readable(str(entry.get("reason") or "")) for entry in entries)
        fields = tuple(str(entry.get("field") or "") for entry in entries)
    else:
        body = error.response.text if error.response is not None else ""
        reasons, fields = (readable(body),) if body else (), ("",) if body else ()
    headers = error.response.headers if error.response is not None else {}
    return ApiResponse(method, path, error.status, reasons, fields, headers.get("Retry-After"))
