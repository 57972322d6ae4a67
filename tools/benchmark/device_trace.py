"""How busy a GPU was, and what the host waited for, in a trace of the TensorFlow profiler."""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_GPU_PLANE = "/device:GPU:"
# Lines of a GPU's plane that hold what it ran; others repeat the same time by module or by name.
_STREAM_LINE = "Stream"
# Calls of the CUDA driver after which the host knows what the GPU has done.
_WAITS = ("StreamSynchronize", "CtxSynchronize", "EventSynchronize", "DeviceSynchronize")
_COPIES_TO_HOST = ("MemcpyDtoH", "MemcpyD2H")


@dataclass(frozen=True)
class DeviceTrace:
    """Use of the first GPU between the first and the last thing that it ran.

    Attributes:
      seconds: Length of that time; 0 if the trace has no GPU.
      busy: Share of the time in which a kernel or a copy ran, on any stream, in [0, 1].
      launches: Number of kernels and copies.
      kernels: Seconds of each kernel, longest first.
      waits: Number of calls by which the host waited for the GPU.
      copies_to_host: Number of copies from the GPU.
    """

    seconds: float = 0.0
    busy: float = 0.0
    launches: int = 0
    kernels: dict[str, float] = field(default_factory=dict)
    waits: int = 0
    copies_to_host: int = 0

    @property
    def idle(self) -> float | None:
        """Share of the time in which nothing ran; None if the trace has no GPU."""
        return 1 - self.busy if self.seconds else None


@contextmanager
def traced() -> Iterator[list[DeviceTrace]]:
    """Profiles a block.

    Yields:
      A list that holds the trace once the block has ended.
    """
    import tensorflow as tf

    results: list[DeviceTrace] = []
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            yield results
        finally:
            tf.profiler.experimental.stop()
        results.append(read_trace(Path(folder)))


def read_trace(folder: Path) -> DeviceTrace:
    """Reads the trace that the profiler wrote into a log folder.

    Args:
      folder: Log folder of `tf.profiler.experimental.start`, used once.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for path in folder.glob("**/*.xplane.pb"):
        space.MergeFromString(path.read_bytes())
    return summarize(space.planes)


def summarize(planes: Iterable[Any]) -> DeviceTrace:
    """Sums up the planes of a trace.

    Args:
      planes: `XPlane` messages: devices, and the host.
    """
    planes = list(planes)
    gpus = sorted((p for p in planes if p.name.startswith(_GPU_PLANE)), key=lambda p: str(p.name))
    hosts = [plane for plane in planes if not plane.name.startswith("/device:")]
    calls = collections.Counter(name for plane in hosts for name, _, _ in _events(plane, ""))
    waits = sum(n for name, n in calls.items() if any(wait in name for wait in _WAITS))
    copies = sum(n for name, n in calls.items() if any(copy in name for copy in _COPIES_TO_HOST))
    events = sorted(_events(gpus[0], _STREAM_LINE), key=lambda event: event[1]) if gpus else []
    if not events:
        return DeviceTrace(waits=waits, copies_to_host=copies)
    kernels: collections.Counter[str] = collections.Counter()
    busy, end = 0, events[0][1]
    for name, start, duration in events:
        kernels[name] += duration
        busy += max(0, start + duration - max(start, end))
        end = max(end, start + duration)
    seconds = (end - events[0][1]) / 1e12
    return DeviceTrace(
        seconds=seconds,
        busy=busy / 1e12 / seconds if seconds else 0.0,
        launches=len(events),
        kernels={name: duration / 1e12 for name, duration in kernels.most_common()},
        waits=waits,
        copies_to_host=copies,
    )


def _events(plane: Any, line_prefix: str) -> Iterator[tuple[str, int, int]]:
    """Name, start and duration of a plane's events, ps."""
    for line in plane.lines:
        if not line.name.startswith(line_prefix):
            continue
        for event in line.events:
            name = plane.event_metadata[event.metadata_id].name
            yield name, line.timestamp_ns * 1000 + event.offset_ps, event.duration_ps
