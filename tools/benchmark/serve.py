"""Measures the server: the first result of a study beside the bare model, then many clients.

  python -m tools.benchmark.serve --dicom_dir=D --clients=20

The floor is the time that the model takes on the study's slices in memory, in one process that does
nothing else. Every client sends the study, asks how far it is, comes again when it is told to
(503, Retry-After), and is counted once it has its probabilities.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ich_tf.runtime import command

if TYPE_CHECKING:
    import httpx

_DICOM_DIR = flags.DEFINE_string(
    "dicom_dir", "data/samples/subdural", "Folder with the DICOM files of one series."
)
_BACKBONE = flags.DEFINE_string("backbone", "resnet50", "The network, with random weights.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 224, "Input of the network, px.")
_RECORD_SIZE = flags.DEFINE_integer("record_size", 256, "Rows and columns it was trained on.")
_CLIENTS = flags.DEFINE_integer("clients", 20, "That send the study at once.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of a single client; the median counts.", lower_bound=1)

_POLL_SECONDS = 0.02
_GIVE_UP_SECONDS = 600.0


@dataclass(frozen=True)
class _Served:
    """What one client saw.

    Attributes:
      seconds: From its first byte to its probabilities, all waiting included.
      busy: How often it was told 503.
      num_slices: Predicted.
    """

    seconds: float
    busy: int
    num_slices: int


def main() -> None:
    """The floor, one client, many clients."""
    from tools.benchmark.random_run import make_run
    from tools.benchmark.service import started

    # A line for each time that a client asks how far its study is.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    files = [
        (path.name, path.read_bytes()) for path in sorted(Path(_DICOM_DIR.value).glob("*.dcm"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        sizes = _IMAGE_SIZE.value, _RECORD_SIZE.value
        work_dir = make_run(Path(folder) / "w", _BACKBONE.value, *sizes)
        floor = _floor(work_dir, len(files))
        print(
            f"{_BACKBONE.value} at {_IMAGE_SIZE.value} px, {len(files)} files, "
            f"{sum(len(data) for _, data in files) / 2**20:.1f} MiB: the bare model takes "
            f"{floor:.2f} s",
            flush=True,
        )
        with started(work_dir, Path(folder) / "state") as service:
            alone = [_send(service.client, files) for _ in range(_ROUNDS.value)]
            first = statistics.median(one.seconds for one in alone)
            print(
                f"one client: {first:.2f} s to {alone[0].num_slices} slices, "
                f"{first / floor:.2f} times the bare model",
                flush=True,
            )
            begun = time.perf_counter()
            found = _send_all(str(service.client.base_url), files)
            whole = time.perf_counter() - begun
            peak = service.peak / 2**30
    _report(found, whole, floor, peak)


def _report(found: list[_Served], whole: float, floor: float, peak: float) -> None:
    import numpy as np

    seconds = np.array([one.seconds for one in found])
    slices = sum(one.num_slices for one in found)
    print(
        f"{_CLIENTS.value} clients at once: {len(found)} served, {_CLIENTS.value - len(found)} "
        f"lost; told 503 {sum(one.busy for one in found)} times; median "
        f"{np.median(seconds):.2f} s, p95 {np.quantile(seconds, 0.95):.2f} s; "
        f"{len(found) / whole:.2f} studies/s, {slices / whole:.1f} slices/s, "
        f"{len(found) * floor / whole:.2f} of the bare model's rate; {peak:.2f} GiB at most in all "
        "its processes"
    )


def _floor(work_dir: Path, number: int) -> float:
    """Seconds that the model takes for so many slices, the median."""
    import numpy as np

    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.runtime.strategies import make_strategy

    predictor = load_predictor(work_dir, make_strategy("mirrored"))
    images = np.zeros((number, *predictor.record_shape), np.uint8)
    predictor.outputs(images)
    seconds = []
    for _ in range(_ROUNDS.value):
        begun = time.perf_counter()
        predictor.outputs(images)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _send(client: httpx.Client, files: list[tuple[str, bytes]]) -> _Served:
    begun, busy = time.perf_counter(), 0
    while (answer := _post(client, files)).status_code == 503:
        busy += 1
        time.sleep(float(answer.headers["retry-after"]))
    answer.raise_for_status()
    route = f"/api/studies/{answer.json()['study_id']}"
    study: dict[str, Any] = {"state": "queued"}
    while study["state"] not in ("done", "failed"):
        if time.perf_counter() - begun > _GIVE_UP_SECONDS:
            raise TimeoutError(f"not done after {_GIVE_UP_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
        study = client.get(route).raise_for_status().json()
    if study["state"] == "failed":
        raise RuntimeError(f"the study failed: {study['error']}")
    seconds = time.perf_counter() - begun
    return _Served(seconds, busy, sum(one["num_slices"] for one in study["series"]))


def _post(client: httpx.Client, files: list[tuple[str, bytes]]) -> httpx.Response:
    return client.post("/api/studies", files=[("files", one) for one in files])


def _send_all(address: str, files: list[tuple[str, bytes]]) -> list[_Served]:
    """All clients at once, each with a connection of its own."""
    import httpx

    found: list[_Served] = []
    together = threading.Barrier(_CLIENTS.value)

    def run() -> None:
        with httpx.Client(base_url=address, timeout=_GIVE_UP_SECONDS) as client:
            together.wait()
            found.append(_send(client, files))

    threads = [threading.Thread(target=run) for _ in range(_CLIENTS.value)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


if __name__ == "__main__":
    command.run(main, __doc__)
