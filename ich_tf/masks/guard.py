"""Whatever a mask file causes while it is read becomes a reason: one bad file never ends a run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ich_tf.errors import Terminated, UsageError
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.runtime.debugging import log_traceback


@contextmanager
def guarded() -> Iterator[None]:
    """Turns every error of the code within into a `MaskError`; around reading one file, no more.

    Raises:
      MaskError: As raised within; MASK_UNREADABLE for everything else.
    """
    try:
        with warnings.catch_warnings():
            # nibabel, pydicom and NumPy warn of what is damaged, and some quote it.
            warnings.simplefilter("ignore")
            yield
    except (MaskError, Terminated, UsageError):
        raise
    except (MemoryError, RecursionError) as error:
        raise MaskError(
            MaskReason.MASK_UNREADABLE, f"takes more memory than there is ({type(error).__name__})."
        ) from error
    except Exception as error:
        log_traceback(error)
        # The type alone: a message may quote what the file holds.
        raise MaskError(
            MaskReason.MASK_UNREADABLE,
            f"cannot be read ({type(error).__name__}); it is cut, damaged or of another format. "
            "--debug shows where.",
        ) from error
