# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the links within an HTML site without a network: check_links.py DIRECTORY."""

from __future__ import annotations

import functools
import html.parser
import pathlib
import sys
import typing as t
import urllib.parse


class Page(html.parser.HTMLParser):
    """The targets of the links of an HTML page, and the anchors that links can point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: dict[str, None] = {}
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                self.links[value or ""] = None
            elif value and (name == "id" or (tag, name) == ("a", "name")):
                self.anchors.add(value)


@functools.cache
def read(path: pathlib.Path) -> Page:
    return Page(path.read_text("utf-8"))


def broken_links(site: pathlib.Path) -> t.Iterator[str]:
    """Yield each link that points to a missing file or anchor, with the path of its page.

    :param site: absolute path of the directory with the pages.
    """
    for path in sorted(site.rglob("*.html")):
        for link in read(path).links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            anchor = urllib.parse.unquote(url.fragment)
            if not target.is_file() or (anchor and target.suffix == ".html" and anchor not in read(target).anchors):
                yield f"{path.relative_to(site)}: {link}"


def main() -> None:
    site = pathlib.Path(sys.argv[1]).resolve()
    if not (site / "index.html").is_file():
        sys.exit(f"{site} contains no index.html")
    broken = list(broken_links(site))
    links = sum(len(page.links) for page in map(read, site.rglob("*.html")))
    print("\n".join([*broken, f"{links} links, {len(broken)} broken"]))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
