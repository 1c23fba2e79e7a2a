# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format text reports with status symbols (Unicode or ASCII), a colour for each status, and at most 80 columns."""

from __future__ import annotations

import textwrap
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible.constants import config
from ansible.utils.color import stringc
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable

WIDTH: t.Final = 80

#: Function that colours a text by status without changing its visible length.
Paint = Callable[[str, str], str]

#: Word for each status in the report; capital letters make problems visible without colour.
WORDS: t.Final[dict[str, str]] = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "not_tested": "not tested"}


def one_line(text: str) -> str:
    """Return ``text`` on one line and without control characters. The text may come from an untrusted node."""
    return printable(" ".join(text.split()))


def plain(text: str, status: str) -> str:
    """Return ``text`` unchanged, for output without colour."""
    return text


@dataclass(frozen=True)
class Style:
    """Symbols and colours of a text report."""

    symbols: dict[str, str] = field(default_factory=lambda: {"pass": "✓", "warn": "!", "fail": "✗", "not_tested": "–"})
    rule: str = "─"
    heavy: str = "━"
    full: str = "█"
    empty: str = "░"
    dot: str = " · "
    times: str = "×"
    ellipsis: str = "…"
    paint: Paint = plain
    ascii_only: bool = False

    def fit(self, text: str, width: int) -> str:
        """Return ``text`` on one line, truncated to at most ``width`` columns."""
        text = self.clean(one_line(text))
        if len(text) <= width:
            return text
        return text[: max(0, width - len(self.ellipsis))].rstrip(" ,;:") + self.ellipsis

    def clean(self, text: str) -> str:
        """Return ``text`` with a ``?`` in place of each character that the output cannot show."""
        return text.encode("ascii", "replace").decode() if self.ascii_only else text

    def wrap(self, text: str, first: str, rest: str | None = None, width: int = WIDTH) -> list[str]:
        """Wrap ``text`` at ``width`` columns; the first line starts with ``first``, all other lines with ``rest``.

        Lines do not break at hyphens, because users copy host and option names that contain hyphens.
        """
        hang = " " * len(first) if rest is None else rest
        return textwrap.wrap(
            self.clean(one_line(str(text))), width, initial_indent=first, subsequent_indent=hang, break_on_hyphens=False
        ) or [first.rstrip()]

    def mark(self, status: str) -> str:
        """Return the coloured symbol of a status."""
        return self.paint(self.symbols[status], status)

    def gauge(self, share: float | None, width: int) -> str:
        """Return a bar of ``width`` columns, filled to ``share`` (0 to 1), or spaces if ``share`` is unknown."""
        if share is None:
            return " " * width
        filled = round(min(max(share, 0.0), 1.0) * width)
        return self.full * filled + self.empty * (width - filled)

    def title(self, left: str, status: str, width: int = WIDTH, word: str | None = None) -> str:
        """Return a line with ``left`` at the left edge and the status at the right edge.

        :param word: text to show in place of the usual word for the status.
        """
        word = f"{self.symbols[status]} {word or WORDS[status]}"
        margin = left[: len(left) - len(left.lstrip())]
        left = margin + self.fit(left, width - len(word) - len(margin) - 2)
        return f"{left}{' ' * (width - len(left) - len(word))}{self.paint(word, status)}"


UNICODE: t.Final = Style()
ASCII: t.Final = Style(
    symbols={"pass": "+", "warn": "!", "fail": "x", "not_tested": "-"},
    rule="-",
    heavy="=",
    full="#",
    empty=".",
    dot=", ",
    times="x",
    ellipsis="...",
    ascii_only=True,
)

_COLOURS: t.Final = {
    "pass": config.get_config_value("COLOR_OK"),
    "warn": "yellow",
    "fail": config.get_config_value("COLOR_ERROR"),
    "not_tested": config.get_config_value("COLOR_SKIP"),
}


def terminal_style(encoding: str | None) -> Style:
    """Return a style with symbols that ``encoding`` supports, and with colours if Ansible uses them."""
    base = UNICODE if (encoding or "").lower().replace("-", "") == "utf8" else ASCII
    return Style(**{**vars(base), "paint": lambda text, status: stringc(text, _COLOURS[status])})
