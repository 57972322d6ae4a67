"""TF_CONFIG: the environment variable by which hosts find each other, checked before TensorFlow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from ich_tf.errors import UsageError
from ich_tf.runtime.files import parse_json
from ich_tf.runtime.json_types import read_fields
from ich_tf.runtime.names import shown_value

_KINDS = ("chief", "worker")
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})", re.ASCII)
_MAX_PORT = 65535


@dataclass(frozen=True)
class _Task:
    type: str
    index: Any


@dataclass(frozen=True)
class _Content:
    cluster: dict[str, tuple[str, ...]]
    task: _Task


def addresses() -> tuple[str, list[str]]:
    """Addresses in TF_CONFIG: this worker's, and the others'.

    Raises:
      UsageError: If it does not describe a cluster and this worker's place in it.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        return _read(text)
    except UsageError:  # of an address
        raise
    except ValueError as error:
        problem = (
            f"TF_CONFIG is {shown_value(text, 300)} ({error})" if text else "TF_CONFIG is not set"
        )
    raise UsageError(
        f"--strategy=multi_worker: {problem}. Expected, in the environment of each host, all "
        f"workers and which of them the host is, for example TF_CONFIG='{_EXAMPLE}'."
    )


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
      UsageError: If it is not `host:port`.

    Examples:
      >>> split_address("host1:2222"), split_address("[::1]:22")
      (('host1', 2222), ('::1', 22))
    """
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[3]) <= _MAX_PORT:
        raise UsageError(
            f"TF_CONFIG: {shown_value(address, 80)} is not an address. Expected HOST:PORT."
        )
    return match[1].strip("[]"), int(match[3])


def _read(text: str) -> tuple[str, list[str]]:
    content = read_fields(_Content, parse_json(text))
    cluster, task = content.cluster, content.task
    if not set(_KINDS).issuperset(cluster) or task.type not in cluster:
        raise ValueError("its processes are no chief and workers")
    all_ = [address for kind in cluster for address in cluster[kind]]
    if len(set(all_)) != len(all_):
        raise ValueError("an address is listed twice")
    for address in all_:
        split_address(address)
    # Some launchers write the number as a text.
    number = str(task.index) if type(task.index) in (int, str) else ""
    members = cluster[task.type]
    if number not in map(str, range(len(members))):
        raise ValueError(f"task.index is none of its {len(members)} processes")
    address = members[int(number)]
    return address, [other for other in all_ if other != address]
