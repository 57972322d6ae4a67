"""tensorflow-addons, loaded on first use by augmentation and optimizers.

Its development ended in May 2024, and it supports no TensorFlow after 2.15.
"""

from __future__ import annotations

import functools
import warnings
from types import ModuleType


@functools.cache
def load_addons() -> ModuleType | None:
    """Imports the package; None if it is not installed or does not fit this TensorFlow."""
    with warnings.catch_warnings():
        # Its import warns of the end of its development and of untested TensorFlow versions.
        warnings.filterwarnings("ignore", category=UserWarning, module="tensorflow_addons")
        warnings.filterwarnings("ignore", category=UserWarning, message=r"\s*TensorFlow Addons")
        try:
            import tensorflow_addons
        except ImportError:
            return None
    return tensorflow_addons  # type: ignore[no-any-return]
