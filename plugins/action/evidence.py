# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the measurements of a node into one archive from which secrets are removed."""

from __future__ import annotations

import io
import json
import tarfile
import time
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_content
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.redaction import known_secrets, redact


class ActionModule(ControllerAction):
    """Write the archive of one node. This runs on the controller only."""

    ARGUMENTS = documented_arguments("evidence")
    ARGUMENTS["secrets"]["no_log"] = True

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        host = str(variables["inventory_hostname"])
        path = Path(options["directory"]).expanduser() / f"evidence-{host}.tar.gz"
        try:
            files = contents(options, host)
            if not self._task.check_mode:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace_content(str(path), archive(path.name.removesuffix(".tar.gz"), files))
        except OSError as error:
            raise AnsibleActionFail(f"cannot write {path}: {error.strerror}") from error
        return {"path": str(path), "files": sorted(files)}


def contents(options: Mapping[str, t.Any], host: str) -> dict[str, str]:
    """Return the content of each file of the archive, with secrets masked.

    :param options: the action's options.
    :raises OSError: if the report exists and cannot be read.
    """
    secrets = known_secrets(options["secrets"])
    results = {f"{name}.json": result for name, result in options["results"].items()}
    entry = _report_entry(options["report"], host)
    results |= {"report.json": entry} if entry else {}
    texts = {
        f"{name}.txt": "".join(f"{mask_line(line)}\n" for line in str(redact(text, secrets)).splitlines())
        for name, text in options["texts"].items()
        if text
    }
    return {name: json.dumps(redact(result, secrets), indent=2) + "\n" for name, result in results.items()} | texts


def _report_entry(report: str | None, host: str) -> t.Any:
    """Return the entry of ``host`` in a JSON report, or None if there is none."""
    if report is None or not Path(report).is_file():
        return None
    try:
        document = json.loads(Path(report).read_text(encoding="utf-8"))
        return {"run": document["run"], "hosts": {host: document["hosts"][host]}}
    except (ValueError, LookupError, TypeError):
        return None


def archive(folder: str, files: Mapping[str, str]) -> bytes:
    """Return a compressed tar archive with ``files`` in ``folder``."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as writer:
        for name, text in sorted(files.items()):
            data = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            writer.addfile(entry, io.BytesIO(data))
    return content.getvalue()
