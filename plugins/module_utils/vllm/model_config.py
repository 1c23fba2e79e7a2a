# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a model is served, read its dimensions from its directory, the node's cache or the Hugging Face Hub."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import model_fit
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts

HUB: t.Final = "https://huggingface.co"

#: Function that requests a URL with headers and returns the body; raises ``OSError`` if the request fails.
Fetch = Callable[[str, "dict[str, str]"], bytes]


def find_shape(
    model: str,
    revision: str | None,
    cache: str,
    volumes: t.Sequence[str],
    hub: str | None,
    token: str | None,
    fetch: Fetch,
) -> tuple[model_fit.ModelShape | None, str]:
    """Return the model's dimensions and the file or URL that contains them, or None and an explanation.

    :param model: a directory in the container, or a model ID on the Hugging Face Hub.
    :param revision: branch, tag or commit of the model; None for ``main``.
    :param cache: directory on the node that the container uses as HF_HOME.
    :param volumes: mounts of the container, each as ``NODE:CONTAINER``.
    :param hub: root URL of the Hugging Face Hub; None to send no request.
    :param token: token for models that are not public.
    """
    if model.startswith("/"):
        mounts = tuple((parts[1], parts[0]) for parts in (volume.split(":") for volume in volumes) if len(parts) > 1)
        path = ContainerFacts("", mounts=mounts).on_host(model)
        return model_fit.read_shape([Path(path or model) / "config.json"])
    shape, source = model_fit.read_shape(model_fit.config_paths(model, {"HF_HOME": cache}, revision))
    if shape is not None or hub is None:
        return shape, source
    url = f"{hub.rstrip('/')}/{model}/resolve/{revision or 'main'}/config.json"
    try:
        config = json.loads(fetch(url, {"Authorization": f"Bearer {token}"} if token else {}))
    except (OSError, ValueError) as error:
        return None, f"{source}; {url}: {error}"
    return (
        (model_fit.shape_of(config), url) if isinstance(config, dict) else (None, f"{url}: not a model configuration")
    )
