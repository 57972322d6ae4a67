"""An association that this side requested."""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom.association import Association


def keep_answers(association: Association) -> None:
    """Leaves the answers of an association to whoever sends its requests.

    pynetdicom's own thread takes requests of the other side from the same queue. It is to pause
    while an answer is awaited, but goes on where another thread runs between two of its lines: it
    then takes the answer and drops it, and the sender waits for `timeout_seconds`. With four busy
    threads in a process that was every 60th C-ECHO. Nobody sends requests to an association that
    stores objects, so that thread has nothing to take.

    Args:
      association: An association that is established.
    """
    take = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        # An association is a thread, the one in question.
        return (None, None) if threading.current_thread() is association else take(block)

    association.dimse.get_msg = get_msg  # type: ignore[method-assign]
