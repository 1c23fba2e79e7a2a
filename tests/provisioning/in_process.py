# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's modules on the fake API, without sockets and waiting: thousands of faults in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from urllib.parse import urlsplit

import pytest
import requests
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import module as linode_module
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.client import LinodeTransport
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import RetryBudget
from fake_linode import Account, FakeLinode, Reply
from faults import Fault, FaultPlan

TOKEN = "0123456789abcdef" * 4
OPTIONS = {
    "state": "present",
    "label": "vllm-1",
    "type": "g2-gpu-rtx4000a4-m",
    "region": ["us-ord"],
    "image": "linode/ubuntu24.04",
    "authorized_users": ["alice"],
    "tags": ["vllm"],
    "owner_tag": None,
    "creation_tag": None,
    "id": None,
    "root_pass": None,
    "return_root_pass": False,
    "wait": True,
    "wait_timeout": 600.0,
    "label_prefix": None,
    "subnet": "10.0.0.0/24",
    "placement": "none",
    "inbound": [{"label": "ssh", "ports": "22", "sources": ["203.0.113.7"]}],
}


class FakeClock:
    """Simulated time that advances only with sleeps and requests."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class InProcessAdapter(requests.adapters.BaseAdapter):
    """A ``requests`` transport adapter that passes requests to the fake and applies a fault plan."""

    def __init__(self, fake: FakeLinode, plan: FaultPlan, clock: FakeClock) -> None:
        super().__init__()
        self._fake, self._plan, self._clock = fake, plan, clock

    def close(self) -> None:
        pass

    def send(self, request, **options):
        self._clock.sleep(0.2)
        parts = urlsplit(request.url)
        path = parts.path.removeprefix("/v4")
        fault = self._plan.next(request.method, path) or Fault(times=0)
        if fault.meanwhile:
            fault.meanwhile()
        strikes_first = not fault.after and (fault.reply or fault.drop or fault.stall)
        body = request.body.encode() if isinstance(request.body, str) else request.body
        target = f"{parts.path}?{parts.query}"
        reply = Reply(200, {}) if strikes_first else self._fake.handle(request.method, target, request.headers, body)
        if fault.alter:
            fault.alter(reply)
        self._clock.sleep(fault.slow)
        if fault.stall:
            self._clock.sleep(options["timeout"][1])
            raise requests.exceptions.ReadTimeout("Read timed out.")
        if fault.drop:
            raise requests.exceptions.ConnectionError("Connection aborted: Remote end closed connection")
        if fault.truncate:
            raise requests.exceptions.ChunkedEncodingError("Connection broken: IncompleteRead")
        return _response(request, fault.reply or reply)


def _response(request, reply: Reply) -> requests.Response:
    text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
    response = requests.Response()
    response.status_code = reply.status
    response.headers.update(reply.headers)
    response.raw = BytesIO(text.encode())
    response.encoding = "utf-8"
    response.request, response.url = request, request.url
    return response


def make_api(
    fake: FakeLinode, token: str, clock: FakeClock, plan: FaultPlan | None = None, budget: float = 600.0
) -> LinodeApi:
    transport = LinodeTransport(token)
    # Reading proxies from the environment would take half of the time of thousands of requests.
    transport._client.session.trust_env = False
    transport.mount(InProcessAdapter(fake, plan or FaultPlan(), clock))
    return LinodeApi(transport, RetryBudget(budget, clock, jitter=lambda: 0.5))


class World:
    """One account, clock and fault plan; ``api()`` opens the API as a new run of a module does."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.account = Account(clock=self.clock.now, boot_seconds=40.0, delete_seconds=3.0)
        self.fake = FakeLinode({TOKEN: self.account})
        self.plan = FaultPlan()

    def api(self, budget: float = 600.0) -> LinodeApi:
        return make_api(self.fake, TOKEN, self.clock, self.plan, budget)

    def create_by_other(self, **body: object) -> dict:
        """Create a Linode on behalf of another user."""
        full = {"label": "vllm-1", "type": "g2-gpu-rtx4000a4-m", "region": "us-ord", "image": "linode/ubuntu24.04"}
        return self.fake.add_instance(self.account, {**full, **body})

    def run(self, task: Callable, **options: object) -> tuple[FakeModule, ModuleExit]:
        """Run a module in this process; return the module and how it ended."""
        module = FakeModule(**options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linode_module, "open_api", lambda options: self.api(options["wait_timeout"]))
            try:
                task(module)
            except ModuleExit as end:
                return module, end
        raise AssertionError("the module did not end")


class ModuleExit(Exception):
    def __init__(self, failed: bool, result: dict) -> None:
        self.failed, self.result = failed, result


class FakeModule:
    """The part of AnsibleModule that the Linode modules use."""

    def __init__(self, **changes: object) -> None:
        self.params = {**OPTIONS, **changes}
        self.check_mode = False
        self.warnings, self.logged = [], []

    def exit_json(self, **result: object) -> None:
        raise ModuleExit(False, result)

    def fail_json(self, **result: object) -> None:
        raise ModuleExit(True, result)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def log(self, text: str) -> None:
        self.logged.append(text)
