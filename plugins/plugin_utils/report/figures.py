# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and values as people read them, alike in every format."""

from __future__ import annotations

import json
import typing as t


def speed(tokens_per_second: float) -> str:
    """``90.7``, ``1,234``: as many digits as a speed deserves."""
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 1000 else f"{tokens_per_second:.1f}"


def milliseconds(seconds: float) -> str:
    """``10.9``, ``291``, without the unit."""
    value = 1000.0 * seconds
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def dollars(amount: float) -> str:
    """``3.57``, ``0.0841``: cents, and more digits where cents would hide the difference."""
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.3g}"


def cost(known: t.Mapping[str, t.Any]) -> list[str]:
    """What a node or a fleet costs, in words: by the hour, per million output tokens, for idle GPUs."""
    words = [f"{known['hourly_price']:.2f} USD/h"]
    if known["per_million_output_tokens"] is not None:
        words.append(f"{dollars(known['per_million_output_tokens'])} USD per 1M output tokens")
    if known["idle_hourly"]:
        words.append(f"{known['idle_hourly']:.2f} USD/h of it for idle GPUs")
    return words


def cell(value: t.Any) -> str:
    """``-`` for what is not known."""
    return "-" if value is None else str(value)


def plain(value: t.Any) -> str:
    """Any value of the document on one line: text as it is, true and false in words, anything nested as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    return json.dumps(value, ensure_ascii=False, default=str)
