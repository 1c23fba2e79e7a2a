# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the options of a role against its argument specification and the limits in ``data/option_limits.yml``."""

from __future__ import annotations

import ipaddress
import math
import re
import shlex
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import check_key
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.firewall import network
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.group import check_subnet
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import (
    FIREWALL_LABEL_LENGTH,
    check_label,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_value
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import normalise_base_url
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

Option = Mapping[str, t.Any]

#: Longest text of a value in an error message, in characters.
MAX_SHOWN: t.Final = 80
#: NCCL variants in ``vllm_nccl_bandwidth``.
NCCL_VARIANTS: t.Final = ("default", "p2p_off", "shm_off", "cumem_off")
_VARIABLE: t.Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE: t.Final = load_table("option_limits")


class InvalidRoleOption(ValueError):
    """An option has an invalid value; the message names the option, the value and what is allowed."""


def limits(name: str) -> dict[str, t.Any]:
    """Return the row of the option ``name`` in ``data/option_limits.yml``, combined with that of its kind."""
    row = _TABLE["options"].get(name) or {}
    row = {"kind": row} if isinstance(row, str) else row
    return {"kind": None, **(_TABLE["kinds"][row["kind"]] if row.get("kind") else {}), **row}


def check_values(role: str, values: Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
    """Check the options of ``role`` that are in ``values``.

    :param values: values by option name, without templates.
    :returns: the valid values, converted to their types, and one error message for each invalid option.
    """
    valid: dict[str, t.Any] = {}
    errors = []
    for name, option in role_options(role).items():
        if name not in values:
            continue
        try:
            valid[name] = check_value(name, values[name], option)
        except InvalidRoleOption as error:
            errors.append(str(error))
    return valid, errors


def check_value(name: str, value: t.Any, option: Option) -> t.Any:
    """Return ``value`` of the option ``name``, converted to its type.

    :param option: the entry of the option in ``meta/argument_specs.yml``.
    :raises InvalidRoleOption: if the value is invalid.
    """
    row = limits(name)
    is_text = option["type"] in ("str", "path")
    if value is None or (is_text and value == ""):
        has_default = option.get("default") not in (None, "")
        if row.get("required") or option.get("required") or (has_default and not row.get("optional")):
            raise InvalidRoleOption(_message(name, value, option, row))
        return value
    converted = _converted(name, value, option, row)
    if row.get("required") and not converted:
        raise InvalidRoleOption(f"{name} must have at least one item.")
    if option["type"] != "list":
        return _checked_item(name, name, converted, option, row)
    item_option = {**option, "type": option.get("elements", "str")}
    return [
        _checked_item(name, f"{name}, entry {position}", item, item_option, row)
        for position, item in enumerate(converted, start=1)
    ]


def _converted(name: str, value: t.Any, option: Option, row: Option) -> t.Any:
    """Return ``value`` with the type of the option."""
    items = value if option["type"] == "list" and isinstance(value, list) else [value]
    spec = {key: option[key] for key in ("type", "elements", "choices") if key in option}
    try:
        result = ArgumentSpecValidator({name: spec}).validate({name: value})
        wrong = bool(result.error_messages)
    except OverflowError:  # Ansible converts infinity to an integer.
        wrong = True
    if wrong or any(_is_mistyped(item, option.get("elements") or option["type"]) for item in items):
        raise InvalidRoleOption(_message(name, value, option, row))
    return result.validated_parameters[name]


def _is_mistyped(value: t.Any, type_name: str) -> bool:
    """Return whether Ansible would silently convert ``value`` to a number or text that the user did not mean."""
    if type_name in ("str", "path"):
        return isinstance(value, (bool, list, Mapping)) or not _has_finite_numbers(value)
    return type_name in ("int", "float") and isinstance(value, bool)


def _checked_suboptions(
    name: str, where: str, item: Mapping[str, t.Any], options: Mapping[str, Option]
) -> dict[str, t.Any]:
    if unknown := sorted(map(str, set(item) - set(options))):
        raise InvalidRoleOption(f"{where} must have only the keys {', '.join(options)}, got {unknown}.")
    checked = {key: option.get("default") for key, option in options.items()}
    for key, option in options.items():
        if key in item or option.get("required"):
            try:
                checked[key] = check_value(f"{name}.{key}", item.get(key), option)
            except InvalidRoleOption as error:
                raise InvalidRoleOption(str(error).replace(f"{name}.{key}", f"{where}: {key}", 1)) from None
    return checked


def _checked_item(name: str, where: str, item: t.Any, option: Option, row: Option) -> t.Any:
    """Return the value of an option, or one item of its list, with the types and defaults of its suboptions."""
    if "options" in option:
        item = _checked_suboptions(name, where, item, option["options"])
    check = CHECKS.get(row["kind"])
    try:
        if check is not None:
            check(item)
        elif not _is_within(item, row):
            raise InvalidRoleOption(_message(where, item, option, row))
        if not _has_finite_numbers(item):
            raise InvalidRoleOption(f"{where} must have finite numbers only, got {shown(where, item)}.")
        return item
    except InvalidRoleOption:
        raise
    except (InvalidInput, ValueError, TypeError) as error:
        reason = _message(where, item, option, row) if "allowed" in row else f"{where}: {error}"
        raise InvalidRoleOption(" ".join(reason.split())) from error


def _is_within(value: t.Any, row: Option) -> bool:
    if "pattern" in row:
        return re.fullmatch(row["pattern"], str(value)) is not None
    if row.get("max") is None:
        return True
    above, minimum = row.get("above"), row.get("min")
    return bool(value <= row["max"] and (above is None or value > above) and (minimum is None or value >= minimum))


def _has_finite_numbers(value: t.Any) -> bool:
    if isinstance(value, Mapping):
        return all(_has_finite_numbers(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_has_finite_numbers(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def _message(where: str, value: t.Any, option: Option, row: Option) -> str:
    return f"{where} must be {allowed(option, row)}, got {shown(where, value)}."


def allowed(option: Option, row: Option) -> str:
    """Return the allowed values of an option in words, such as ``between 1 and 65535``."""
    unit = f" {row['unit']}" if "unit" in row else ""
    if "choices" in option:
        text = f"one of {', '.join(option['choices'])}"
    elif row.get("min") is not None:
        text = f"between {row['min']} and {row['max']}{unit}"
    elif row.get("above") is not None:
        text = f"greater than {row['above']} and at most {row['max']:.15g}{unit}"
    else:
        text = row.get("allowed") or _TABLE["types"][option.get("elements") or option["type"]]
    return f"a list in which each item is {text}" if option["type"] == "list" else text


def shown(name: str, value: t.Any) -> str:
    """Return ``value`` of the option ``name`` as text for an error message, shortened and without secrets."""
    text = repr(mask_value(value, name.rpartition(": ")[2].partition(",")[0]))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _check_address(text: str) -> None:
    ipaddress.ip_address("127.0.0.1" if text == "localhost" else text.strip("[]"))


def _check_environment(variables: Mapping[str, t.Any]) -> None:
    for name, value in variables.items():
        is_scalar = isinstance(value, (str, int, float, type(None)))
        if not _VARIABLE.fullmatch(str(name)) or not is_scalar or "\0" in str(value):
            raise ValueError


def _check_bandwidths(bandwidths: Mapping[str, t.Any]) -> None:
    """Check measured bus bandwidths, in bytes per second. None means that the measurement of the variant failed."""
    for name, value in bandwidths.items():
        if name not in NCCL_VARIANTS:
            raise ValueError(f"each key must be one of {', '.join(NCCL_VARIANTS)}, got {name!r}.")
        if value is not None and float(value) <= 0:
            raise ValueError(f"{name} must be greater than 0 bytes per second, got {value!r}.")


def _check_checksums(checksums: Mapping[str, t.Any]) -> None:
    if not all(re.fullmatch("[0-9a-f]{64}", str(checksum)) for checksum in checksums.values()):
        raise ValueError


def _check_settings(settings: Mapping[str, t.Any]) -> None:
    """Check settings that take precedence over options of the vllm role of the same name."""
    options = role_options("vllm")
    for name, value in settings.items():
        option = f"vllm_{'model_revision' if name == 'revision' else name}"
        if option not in options:
            raise ValueError(f"each key must be an option of the vllm role without the prefix vllm_, got {name!r}.")
        if value is not None:  # Null removes a setting.
            check_value(option, value, options[option])


def _check_file(path: str) -> None:
    if not Path(path).is_file():
        raise ValueError


#: Kind -> function that raises an error for an invalid value.
CHECKS: t.Final[dict[str | None, Callable[[t.Any], object]]] = {
    "address": _check_address,
    "bandwidths": _check_bandwidths,
    "checksums": _check_checksums,
    "command_line": shlex.split,
    "environment": _check_environment,
    "file": _check_file,
    "label_prefix": lambda prefix: check_label(f"{prefix}-fw", FIREWALL_LABEL_LENGTH),
    "network": network,
    "private_network": check_subnet,
    "settings": _check_settings,
    "ssh_key": check_key,
    "url": normalise_base_url,
}
