# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the ``docker`` commands that this collection uses, on the Docker Engine of a simulated node.

The node's ``bin/docker`` starts this program.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
import typing as t

from emulator.docker_client import DockerClient, RequestRefused

#: Commands whose request is POST /containers/NAME/COMMAND without a body.
PLAIN: t.Final = ("start", "stop", "restart", "kill")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="docker", description=__doc__)
    parser.add_argument("-H", "--host", default=os.environ.get("DOCKER_HOST"))
    commands = parser.add_subparsers(dest="command", required=True)
    for kind in ("container", "image"):
        inspect = commands.add_parser(kind).add_subparsers(dest="action", required=True).add_parser("inspect")
        inspect.add_argument("-f", "--format")
        inspect.add_argument("name")
    inspect = commands.add_parser("inspect")
    inspect.add_argument("-f", "--format")
    inspect.add_argument("name")
    logs = commands.add_parser("logs")
    logs.add_argument("--since", default="")
    logs.add_argument("-n", "--tail", default="all")
    logs.add_argument("-t", "--timestamps", action="store_true")
    logs.add_argument("name")
    ps = commands.add_parser("ps")
    ps.add_argument("-a", "--all", action="store_true")
    for command in PLAIN:
        commands.add_parser(command).add_argument("name")
    remove = commands.add_parser("rm")
    remove.add_argument("-f", "--force", action="store_true")
    remove.add_argument("name")
    update = commands.add_parser("update")
    update.add_argument("--restart", required=True)
    update.add_argument("name")
    rename = commands.add_parser("rename")
    rename.add_argument("name")
    rename.add_argument("new_name")
    run = commands.add_parser("run")
    for option in ("gpus", "ipc", "name", "volume", "network"):
        run.add_argument(f"--{option}")
    run.add_argument("--rm", action="store_true")
    run.add_argument("--entrypoint", required=True)
    run.add_argument("image")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args(argv)


def formatted(document: t.Any, template: str | None) -> str:
    """Return what ``inspect`` prints: JSON, or a value if the template is ``{{.A.B}}`` or ``{{json .A.B}}``."""
    if template is None:
        return json.dumps([document], indent=4)
    match = re.fullmatch(r"\{\{(json )?((?:\.\w+)+)\}\}", template)
    if match is None:
        raise RequestRefused(400, f"the simulated docker does not support the template {template}")
    for name in match[2].split(".")[1:]:
        document = (document or {}).get(name)
    return json.dumps(document) if match[1] or not isinstance(document, str) else document


def since_seconds(text: str) -> str:
    """Return a time or a duration such as ``60s`` as seconds since 1970, for the API."""
    if match := re.fullmatch(r"(\d+)s", text):
        return str(int(time.time()) - int(match[1]))
    moment, _point, fraction = text.partition(".")
    whole = datetime.datetime.fromisoformat(moment.removesuffix("Z")).replace(tzinfo=datetime.timezone.utc)
    return f"{int(whole.timestamp())}.{fraction.removesuffix('Z') or 0}"


def texts(stream: bytes) -> t.Iterator[str]:
    """Return the lines of a multiplexed stream."""
    while stream:
        end = 8 + int.from_bytes(stream[4:8], "big")
        yield stream[8:end].decode("utf-8", "replace")
        stream = stream[end:]


def run(client: DockerClient, options: argparse.Namespace) -> str:
    """Run a command, and return what it prints.

    :raises RequestRefused: if the Docker Engine refuses the request.
    """
    command, name = options.command, getattr(options, "name", None)
    if command == "image":
        return formatted(client.get(f"/images/{name}/json"), options.format)
    if command in ("container", "inspect"):
        return formatted(client.get(f"/containers/{name}/json"), options.format)
    if command == "ps":
        rows = client.get("/containers/json", all=int(options.all))
        return "\n".join(f"{row['Id'][:12]}  {row['Image']}  {row['State']}  {row['Names'][0][1:]}" for row in rows)
    if command == "logs":
        query = {"tail": options.tail, "timestamps": int(options.timestamps)}
        query |= {"since": since_seconds(options.since)} if options.since else {}
        return "".join(texts(client.request("GET", f"/containers/{name}/logs", **query))).removesuffix("\n")
    if command == "rm":
        client.request("DELETE", f"/containers/{name}", force=int(options.force))
    elif command == "rename":
        client.request("POST", f"/containers/{name}/rename", name=options.new_name)
    elif command == "update":
        client.request("POST", f"/containers/{name}/update", {"RestartPolicy": {"Name": options.restart}})
    else:
        client.request("POST", f"/containers/{name}/{command}")
    return str(name)


def main(argv: list[str]) -> int:
    options = parse(argv)
    if options.command == "run":
        # Containers are not isolated, so the program runs on this host, with the caller's environment.
        program = sys.executable if options.entrypoint == "python3" else options.entrypoint
        return subprocess.call([program, *options.arguments])
    if not options.host:
        print("docker: set DOCKER_HOST to the socket of a simulated node", file=sys.stderr)
        return 1
    try:
        text = run(DockerClient(options.host), options)
    except RequestRefused as error:
        print(f"Error response from daemon: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot connect to the Docker daemon at {options.host}: {error}", file=sys.stderr)
        return 1
    if text:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
