# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shape of a model that is about to be served: from its directory, the node's cache, or the Hugging Face hub."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import (
    ModelShape,
    config_paths,
    read_shape,
    shape_of,
)

HUB: t.Final = "https://huggingface.co"

#: GETs a URL with headers and returns the body; raises ``OSError`` where that fails.
Fetch = Callable[[str, "dict[str, str]"], bytes]


def find_shape(
    model: str,
    revision: str | None,
    cache: str,
    volumes: t.Sequence[str],
    hub: str | None,
    token: str | None,
    fetch: Fetch,
) -> tuple[ModelShape | None, str]:
    """The shape and where it was found, or ``None`` and why not. ``hub`` of ``None`` asks nobody.

    ``model`` is a directory of the container (``volumes`` say where it is on the node) or an id of the hub.
    """
    if model.startswith("/"):
        pairs = tuple((parts[1], parts[0]) for parts in (volume.split(":") for volume in volumes) if len(parts) > 1)
        place = ContainerFacts("", mounts=pairs).on_host(model)
        return read_shape([Path(place or model) / "config.json"])
    shape, where = read_shape(config_paths(model, {"HF_HOME": cache}, revision))
    if shape is not None or hub is None:
        return shape, where
    url = f"{hub.rstrip('/')}/{model}/resolve/{revision or 'main'}/config.json"
    try:
        config = json.loads(fetch(url, {"Authorization": f"Bearer {token}"} if token else {}))
    except (OSError, ValueError) as error:
        return None, f"{where}; {url}: {error}"
    return (shape_of(config), url) if isinstance(config, dict) else (None, f"{url}: no model configuration")
