"""Whatever a file causes while it is read becomes a reason: one bad file never ends a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ich_tf.dicom.reasons import DicomError, Reason, unreadable
from ich_tf.errors import Terminated, UsageError
from ich_tf.runtime.debugging import log_traceback


@contextmanager
def guarded() -> Iterator[None]:
    """Turns every error of the code within into a `DicomError`; around reading one file, no more.

    What is written within would be blamed on the file: a full disk is none of its reasons.

    Raises:
      DicomError: As raised within; UNREADABLE for errors of the disk, TOO_LARGE where memory ran
        out, INTERNAL for errors that nobody foresaw.
    """
    try:
        yield
    except (DicomError, Terminated, UsageError):
        raise
    except (MemoryError, RecursionError) as error:
        raise DicomError(
            Reason.TOO_LARGE, f"takes more memory than there is ({type(error).__name__})."
        ) from error
    except OSError as error:
        raise unreadable(error) from error
    except Exception as error:
        log_traceback(error)
        # The type alone: a message may quote what the file holds.
        raise DicomError(
            Reason.INTERNAL,
            f"caused an error that nobody foresaw ({type(error).__name__}); --debug shows where. "
            "Please report it.",
        ) from error
