# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the checks that Ansible's community collections share: ``nox`` (``nox --list`` shows them).

``antsibull-nox.toml`` selects them. The collection's own tests are targets of the Makefile.
"""

# /// script
# dependencies = ["nox>=2025.02.09", "antsibull-nox"]
# ///

import antsibull_nox
import nox

antsibull_nox.load_antsibull_nox_toml()

if __name__ == "__main__":
    nox.main()
