"""The smallest part of an input that is read as wrongly as the whole: what a test is made of."""

from __future__ import annotations

from collections.abc import Callable


def minimised(data: bytes, is_wrong: Callable[[bytes], bool], most_trials: int = 3000) -> bytes:
    r"""Leaves out of an input, and sets to zero, all that it is wrong without.

    Args:
      data: Input that is read wrongly.
      is_wrong: Tells whether an input is read wrongly in the same way.
      most_trials: Number of inputs to try at most.

    Examples:
      >>> minimised(b"some text with a fault in it", lambda data: b"fault" in data)
      b'fault'
      >>> minimised(b"abcdefgh", lambda data: len(data) == 8 and data[5:6] == b"f")
      b'\x00\x00\x00\x00\x00f\x00\x00'
    """
    trials = 0
    for keeps_length in (False, True):
        size = max(1, len(data) // 2)
        while size:
            at = 0
            while at < len(data) and trials < most_trials:
                part = data[at : at + size]
                smaller = data[:at] + bytes(len(part) * keeps_length) + data[at + size :]
                trials += 1
                is_smaller = smaller != data and is_wrong(smaller)
                if is_smaller:
                    data = smaller
                at += size if keeps_length or not is_smaller else 0
            size //= 2
    return data
