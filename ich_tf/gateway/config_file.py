"""The TOML file of a gateway, read into its config: every error names the file and the key."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ich_tf.errors import ConfigError
from ich_tf.gateway.config import GatewayConfig
from ich_tf.runtime.names import printable, shortened, shown_value
from ich_tf.runtime.toml_text import parse_toml

_MOST_BYTES = 1 << 20


def load_config(path: str | Path) -> GatewayConfig:
    """Reads a gateway's config.

    Args:
      path: TOML file. Paths in it are relative to its folder; `~` is the home folder.

    Raises:
      ConfigError: If it cannot be read, or a key is unknown or has a wrong value.
    """
    path = Path(path)
    sections = _read(path)
    classes = typing.get_type_hints(GatewayConfig)
    _check_names(f"{path}: section", sections, classes)
    made = {}
    for name, values in sections.items():
        if not isinstance(values, dict):
            raise ConfigError(
                f"{path}: {name} is {shown_value(values)}; it must be a section, [{name}]."
            )
        made[name] = _section(path, name, classes[name], values)
    try:
        return GatewayConfig(**made)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"{path}: is larger than {_MOST_BYTES >> 10} KiB, as no config is.")
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        return parse_toml(text)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Give a gateway's config with --config; "
            "configs/gateway.toml is an example."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}).") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested more deeply than a config is.") from error
    except ValueError as error:  # of the parser, or of a number of more than 4,300 digits
        raise ConfigError(f"{path}: is not TOML: {shortened(str(error), 200)}.") from error


def _section(path: Path, name: str, section_class: Any, values: dict[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(section_class)}
    _check_names(f"{path}: [{name}]", values, fields)
    values = {
        key: _absolute(path, name, key, value) if fields[key].metadata["is_path"] else value
        for key, value in values.items()
    }
    try:
        return section_class(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: [{name}] {error}") from error


def _absolute(path: Path, section: str, key: str, value: Any) -> Any:
    """A path relative to the config's folder; values of other types are refused by the section."""
    if not isinstance(value, str) or not value:
        return value
    try:
        if "\0" in value:
            raise ValueError
        return str(path.resolve().parent / Path(value).expanduser())
    except (RuntimeError, ValueError) as error:  # `~` of a user who is not there
        raise ConfigError(
            f"{path}: [{section}] {key} is {shown_value(value)}; it must be a path without zero "
            "bytes, whose home folder, if any, is there."
        ) from error


def _check_names(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            similar = difflib.get_close_matches(name[:100], known, 1)
            hint = f" Did you mean {similar[0]}?" if similar else ""
            raise ConfigError(
                f"{where} {shortened(printable(name), 40)} is unknown.{hint} Known are "
                f"{', '.join(sorted(known))}."
            )
