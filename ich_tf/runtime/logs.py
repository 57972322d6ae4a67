"""Log lines of a command, and of the processes that do its work."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ich_tf.runtime.debugging import traceback_text
from ich_tf.runtime.names import printable, without_credentials
from ich_tf.runtime.quiet import quiet_libraries


def start_logging(level: int = logging.INFO) -> None:
    """Writes log lines with the time of day to stderr."""
    quiet_libraries()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler])


def format_last_resort() -> None:
    """Formats so what a process logs that has not called `start_logging`."""
    quiet_libraries()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("%(message)s"))


class LineFormatter(logging.Formatter):
    """Formats a record as one line, whatever names of files put into it.

    A traceback follows on lines of its own, without what it quotes.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        """The line of a record."""
        if record.name == "asyncio" and record.exc_info:
            # Its further lines are the `repr` of tasks and of what these raised.
            record.message = record.message.partition("\n")[0]
        return printable(without_credentials(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - of logging
        """The traceback of a record."""
        return traceback_text(ei[1]).rstrip() if ei and ei[1] is not None else ""
