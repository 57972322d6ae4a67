"""tensorflow-addons, loaded on use: by `augment` and `optimizers` alone.

Its life ended in May 2024; TensorFlow 2.16 and later do without it.
"""

from __future__ import annotations

import functools
import warnings
from types import ModuleType


@functools.cache
def load_addons() -> ModuleType | None:
    """The package, or None where it is not installed or does not fit this TensorFlow."""
    with warnings.catch_warnings():
        # It says of itself that its life has ended, and that it fits few versions.
        warnings.filterwarnings("ignore", category=UserWarning, module="tensorflow_addons")
        warnings.filterwarnings("ignore", category=UserWarning, message=r"\s*TensorFlow Addons")
        try:
            import tensorflow_addons
        except ImportError:
            return None
    return tensorflow_addons  # type: ignore[no-any-return]
