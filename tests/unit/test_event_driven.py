# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebooks in extensions/eda. ansible-lint validates their schema; ``make test-eda`` installs ansible-rulebook."""

from __future__ import annotations

import collections
import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.request

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULEBOOKS = sorted(ROOT.glob("extensions/eda/rulebooks/*.yml"))
PROGRAM = shutil.which("ansible-rulebook", path=f"{ROOT}/.cache/eda/bin:{os.environ['PATH']}")
TOKEN = "webhook-token"
#: Labels that must not reach Ansible: it would execute the templates, and the patterns select other nodes.
HOSTILE = [
    "{{ lookup('pipe', 'id') }}",
    "gpu-01\n{{ 1 }}",
    "gpu-01,gpu-02",
    "~gpu",
    "*",
    "@/etc/hosts",
    "!gpu-01",
    "-x",
]


def ruleset(path: pathlib.Path) -> dict[str, t.Any]:
    (only,) = yaml.safe_load(path.read_text("utf-8"))
    return only


def rule(path: pathlib.Path) -> dict[str, t.Any]:
    (only,) = ruleset(path)["rules"]
    return only


def alert(node: str | None, status: str = "firing") -> dict[str, t.Any]:
    """Return an alert as Alertmanager sends it (version 4 of its webhook)."""
    labels = {"alertname": "ValidationFailed"} | ({} if node is None else {"node": node})
    return {
        "status": status,
        "labels": labels,
        "annotations": {},
        "startsAt": "2026-11-30T18:00:00Z",
        "fingerprint": "a",
    }


@pytest.mark.parametrize("path", RULEBOOKS, ids=lambda path: path.stem)
def test_rulebook_requires_a_token_and_starts_what_the_collection_has(path: pathlib.Path) -> None:
    (source,) = ruleset(path)["sources"]
    assert source["eda.builtin.webhook"]["token"] == "{{ webhook_token }}"
    action = rule(path)["action"]
    if "run_playbook" in action:
        playbook = action["run_playbook"]["name"].removeprefix("multigpu.vllm.")
        assert "validate_hosts" in (ROOT / f"playbooks/{playbook}.yml").read_text("utf-8")
    else:
        variables = yaml.safe_load((ROOT / "playbooks/awx.yml").read_text("utf-8"))[0]["vars"]
        with_limit = [f"multigpu {item['name']}" for item in variables["__awx_templates"] if item.get("nodes")]
        assert action["run_job_template"]["name"] in with_limit
        assert action["run_job_template"]["organization"] == variables["awx_organization"]


@pytest.mark.parametrize("path", [path for path in RULEBOOKS if "alerts" in path.name], ids=lambda path: path.stem)
def test_alert_label_must_be_the_name_of_one_node(path: pathlib.Path) -> None:
    (pattern,) = re.findall(r'event\.labels\.node is match\("(.*)"\)', rule(path)["condition"])
    assert [label for label in ("gpu-01", "gpu-01.example.com", "203.0.113.7") if not re.search(pattern, label)] == []
    assert [label for label in HOSTILE if re.search(pattern, label)] == []


def test_verdict_rule_reads_documented_fields_of_the_report() -> None:
    schema = json.loads((ROOT / "docs/report.schema.json").read_text("utf-8"))
    assert schema["properties"]["summary"]["properties"]["hosts"]["propertyNames"] == {"$ref": "#/$defs/status"}
    assert "fail" in schema["$defs"]["status"]["enum"]
    assert "status" in schema["$defs"]["host"]["required"]


class Controller(http.server.BaseHTTPRequestHandler):
    """The part of AWX's API that ansible-rulebook uses to launch a job template."""

    launches: t.ClassVar[list[tuple[str, dict[str, t.Any]]]] = []

    def log_message(self, *_arguments: t.Any) -> None:
        pass

    def respond(self, answer: dict[str, t.Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_GET(self) -> None:
        if "unified_job_templates" not in self.path:
            return self.respond({"results": [{"id": 1, "status": "successful"}], "version": "24.6.1"})
        name = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["name"][0]
        asks = {f"ask_{name}_on_launch": name == "limit" for name in ("limit", "labels", "inventory", "variables")}
        launch = {"launch": f"/launch/{urllib.parse.quote(name)}"}
        return self.respond({"results": [{"id": 1, "type": "job_template", "name": name, "related": launch, **asks}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.launches.append((urllib.parse.unquote(self.path.removeprefix("/launch/")), body))
        self.respond({"id": 1, "url": "/api/v2/jobs/1/"})


def post(port: int, body: dict[str, t.Any], token: str = TOKEN) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", json.dumps(body).encode(), headers)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def wait_for(condition: t.Callable[[], t.Any], process: subprocess.Popen[str]) -> t.Any:
    """Return the first true result of ``condition``, or fail after two minutes or if the process has ended."""
    for _attempt in range(1200):
        assert process.poll() is None
        with contextlib.suppress(OSError):
            if result := condition():
                return result
        time.sleep(0.1)
    raise AssertionError("ansible-rulebook did nothing")


@pytest.mark.skipif(PROGRAM is None or shutil.which("java") is None, reason="needs ansible-rulebook and Java 17")
def test_rulebooks_start_jobs_for_firing_alerts_and_failed_nodes_only(tmp_path: pathlib.Path) -> None:
    """One run of ansible-rulebook with all rulebooks, against a part of AWX's API."""
    rulesets, ports = {path.stem: ruleset(path) for path in RULEBOOKS}, {}
    with contextlib.ExitStack() as sockets:
        for name, rules in rulesets.items():
            listener = sockets.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports[name] = rules["sources"][0]["eda.builtin.webhook"]["port"] = listener.getsockname()[1]
            rules["name"] = name
    # The playbook itself is tested elsewhere.
    playbook = rulesets["alerts"]["rules"][0].pop("action")["run_playbook"]
    rulesets["alerts"]["rules"][0]["action"] = {"debug": {"msg": f"checks {playbook['extra_vars']['validate_hosts']}"}}
    (tmp_path / "rulebook.yml").write_text(yaml.safe_dump(list(rulesets.values())), "utf-8")
    (tmp_path / "variables.yml").write_text(yaml.safe_dump({"webhook_token": TOKEN}), "utf-8")
    (tmp_path / "hosts.yml").write_text("all: {hosts: {gpu-01: {}}}", "utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Controller)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    output, launches = tmp_path / "output", Controller.launches
    launches.clear()
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [
                *(str(PROGRAM), "--rulebook", "rulebook.yml", "--vars", "variables.yml", "--inventory", "hosts.yml"),
                *("--controller-url", f"http://127.0.0.1:{server.server_port}/", "--controller-token", "token"),
            ],
            cwd=tmp_path,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        assert wait_for(lambda: post(ports["alerts"], {"alerts": []}, "wrong"), process) == 401
        alerts = {"version": "4", "status": "firing", "alerts": [alert(label) for label in HOSTILE]}
        alerts["alerts"] += [alert(None), alert("gpu-02", "resolved"), alert("gpu-01"), alert("gpu-01")]
        for name in ("alerts", "alerts_awx"):
            assert wait_for(lambda name=name: post(ports[name], alerts), process) == 200
        statuses = {"gpu-03": "fail", "gpu-04": "pass", "gpu-05": "fail"}
        counts = {status: list(statuses.values()).count(status) for status in ("pass", "warn", "fail", "not_tested")}
        report = {
            "summary": {"hosts": counts},
            "hosts": {name: {"status": status} for name, status in statuses.items()},
        }
        passed = {"summary": {"hosts": {**counts, "fail": 0}}, "hosts": {"gpu-04": {"status": "pass"}}}
        for body in (passed, report):
            assert wait_for(lambda body=body: post(ports["verdicts_awx"], body), process) == 200
        wait_for(lambda: len(launches) == 2 and "checks " in output.read_text("utf-8"), process)
    finally:
        process.terminate()
        process.wait()
        server.shutdown()
        server.server_close()
    started = collections.Counter((name, body["limit"]) for name, body in launches)
    assert started == {("multigpu quick_check", "gpu-01"): 1, ("multigpu evidence", "gpu-03,gpu-05"): 1}
    assert re.findall("checks .*", output.read_text("utf-8")) == ["checks gpu-01"]
