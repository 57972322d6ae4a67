"""Threads of a server share their memory."""

import platform
import subprocess
import sys

import pytest

# Each of eight threads allocates and frees 6 MiB in pieces, one after the other, and lives on.
_CODE = """
import re, sys, threading
from ich_tf.runtime.arenas import share_arenas
if sys.argv[1] == "shared":
    share_arenas()
end = threading.Event()
def work(done):
    kept = [bytes(60_000) for _ in range(100)]
    del kept
    done.set()
    end.wait()
for _ in range(8):
    done = threading.Event()
    threading.Thread(target=work, args=(done,), daemon=True).start()
    done.wait()
places = [line.split("-")[0] for line in open("/proc/self/maps") if " rw-p " in line]
print(sum(int(place, 16) % 2**26 == 0 for place in places))
end.set()
"""


def num_arenas(how: str) -> int:
    command = [sys.executable, "-c", _CODE, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_threads_share_two_areas_of_memory() -> None:
    # An area that is no thread's begins at such an address only by chance.
    assert num_arenas("own") >= 4
    assert num_arenas("shared") <= 3
