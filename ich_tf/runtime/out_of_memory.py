"""Errors of memory that ran out, in one paragraph: what could not be had, and what needs less."""

from __future__ import annotations

# What TensorFlow and XLA say, in lower case; Python and NumPy raise MemoryError.
_PHRASES = ("oom when allocating", "out of memory", "failed to allocate memory")


def describe_out_of_memory(error: BaseException) -> str | None:
    """One paragraph on an error of memory that ran out.

    Args:
      error: The error, of whatever library.

    Returns:
      None for an error of another kind.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    found = [line for line in lines if any(phrase in line.lower() for phrase in _PHRASES)]
    if not found and not isinstance(error, MemoryError):
        return None
    what = next(iter(found or lines), "")
    return (
        f"out of memory{f' ({what})' if what else ''}. Lower --batch_size, or in training raise "
        "--accumulation, which sends a batch through in parts; a smaller --image_size needs less, "
        "too. What was saved before is kept."
    )
