# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure the documentation site that scripts/docs.sh builds from its copy of the pages in .cache/docs/source."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_antsibull_ext.assets import get_color_scheme_content


def colors(scheme: str) -> dict[str, str]:
    """Return the CSS variables of a colour scheme of antsibull-docs."""
    return dict(re.findall(r"--([\w-]+):([^;}]+)", get_color_scheme_content(scheme).decode()))


project = "multigpu.vllm"
html_title = project
extensions = ["myst_parser", "sphinx_antsibull_ext"]
exclude_patterns = ["README.md"]  # index.md includes it.
highlight_language = "text"
html_theme = "furo"
# As variables of the theme, the colours also follow the button that switches between light and dark.
html_theme_options = {
    "light_css_variables": colors("default"),
    "dark_css_variables": colors("default-dark"),
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_use_index = False
myst_heading_anchors = 3
nitpicky = True
smartquotes = False  # It would turn the "--" of options into a dash.

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest"
#: Labels of Ansible's documentation to which pages of antsibull-docs refer. A table, because intersphinx would need the
#: network for each build.
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_collections.ansible.builtin.async_status_module": "collections/ansible/builtin/async_status_module.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def link_to_ansible(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Return a link for a reference to Ansible's documentation, or None for any other reference."""
    target = node["reftarget"]
    setting = f"reference_appendices/config.html#envvar-{target}" if node["reftype"] == "envvar" else None
    page = setting or ANSIBLE_PAGES.get(target)
    return nodes.reference("", "", text, internal=False, refuri=f"{ANSIBLE}/{page}") if page else None


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", link_to_ansible)
