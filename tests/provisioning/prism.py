# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of requests against Linode's API document: ``prism proxy`` with a reduced, corrected copy of it.

    python tests/provisioning/prism.py prune openapi.json tests/provisioning/linode-openapi.json.gz

creates that copy from the full document.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE / "linode-openapi.json.gz"
#: Installed by ``run.sh``; never committed.
PRISM = HERE.parents[1] / ".cache" / "prism" / "node_modules" / ".bin" / "prism"
METHODS = ("get", "post", "put", "delete")
#: The operations that this collection uses. Prism reports any other as an unknown route.
USED = {
    "/linode/types": "get",
    "/linode/types/{typeId}": "get",
    "/linode/instances": "get post",
    "/linode/instances/{linodeId}": "get put delete",
    "/linode/instances/{linodeId}/boot": "post",
    "/linode/instances/{linodeId}/firewalls": "get",
    "/networking/firewalls": "get post",
    "/networking/firewalls/{firewallId}": "put delete",
    "/networking/firewalls/{firewallId}/rules": "put",
    "/networking/firewalls/{firewallId}/devices": "get post",
    "/vpcs": "get post",
    "/vpcs/{vpcId}": "delete",
    "/vpcs/ips": "get",
    "/placement/groups": "get post",
    "/placement/groups/{groupId}": "delete",
}
#: Fields of POST /linode/instances that are newer than the document (2024-10).
NEWER_FIELDS = {"disk_encryption": {"type": "string", "enum": ["enabled", "disabled"]}}
LOGINS = ("root_pass", "authorized_keys", "authorized_users")


def pruned(document: dict) -> dict:
    """Return the used operations with their request schemas, without prose, examples and response schemas."""
    paths = {}
    for path, methods in USED.items():
        full = document["paths"]["/{apiVersion}" + path]
        kept = {method: _operation(full[method]) for method in methods.split()}
        parameters = [_parameter(item) for item in full.get("parameters", [])]
        paths["/{apiVersion}" + path] = {**kept, "parameters": parameters}
    create = paths["/{apiVersion}/linode/instances"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    create["allOf"][1]["properties"].update(NEWER_FIELDS)
    # The document forbids in one place the policies that it requires in another, so no request could satisfy it.
    firewall = paths["/{apiVersion}/networking/firewalls"]["post"]["requestBody"]["content"]["application/json"]
    del firewall["schema"]["properties"]["rules"]["additionalProperties"]
    # Since 2026-05, the API has refused an image without any login.
    logins = [{"required": [login]} for login in LOGINS]
    create["allOf"].append({"anyOf": [{"not": {"required": ["image"]}}, *logins]})
    return {
        "openapi": document["openapi"],
        "info": {key: document["info"][key] for key in ("title", "version", "license")},
        "servers": document["servers"],
        "paths": paths,
        "components": {"securitySchemes": document.get("components", {}).get("securitySchemes", {})},
    }


def _operation(operation: dict) -> dict:
    kept = {key: operation[key] for key in ("operationId", "requestBody") if key in operation}
    kept["parameters"] = [_parameter(item) for item in operation.get("parameters", [])]
    kept["responses"] = {"200": {"description": ""}, "default": {"description": ""}}
    return _without_prose(kept)


def _parameter(parameter: dict) -> dict:
    # Prism cannot parse a header that is declared as an object, and would respond to every filtered GET with 422.
    if parameter.get("in") == "header" and parameter.get("name") == "X-Filter":
        return {"in": "header", "name": "X-Filter", "required": False, "schema": {"type": "string"}}
    return _without_prose(parameter)


def _without_prose(node: object) -> object:
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _without_prose(value) for key, value in node.items() if not _is_prose(key, value)}


def _is_prose(key: str, value: object) -> bool:
    """Return whether a key holds prose. A *property* of these names is a mapping and is kept, as is an empty text."""
    return key in ("example", "examples") or key in ("description", "title") and isinstance(value, str) and value != ""


def available() -> bool:
    return PRISM.exists() and shutil.which("node") is not None


class Prism:
    """Runs the proxy as ``with Prism(upstream_url, port, folder) as url``, which returns once it responds."""

    def __init__(self, upstream: str, port: int, folder: Path) -> None:
        self._upstream = upstream
        self._port = port
        self._folder = folder

    def __enter__(self) -> str:
        document = self._folder / "linode-openapi.json"
        document.write_bytes(gzip.decompress(DOCUMENT.read_bytes()))
        command = [str(PRISM), "proxy", str(document), self._upstream, "--host", "127.0.0.1", "--port", str(self._port)]
        self._log = (self._folder / "prism.log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        url = f"http://127.0.0.1:{self._port}"
        deadline = time.monotonic() + 60
        while not self._answers(url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"prism did not start:\n{(self._folder / 'prism.log').read_text()[-2000:]}")
            time.sleep(0.1)
        return url

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            urllib.request.urlopen(f"{url}/v4/linode/types", timeout=5)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def __exit__(self, *_details: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)
        self._log.close()


if __name__ == "__main__":
    _command, source, target = sys.argv[1:4]
    text = json.dumps(pruned(json.loads(Path(source).read_text())), separators=(",", ":"), sort_keys=True)
    Path(target).write_bytes(gzip.compress(text.encode(), mtime=0))
