"""Measures the server: the first result of one client beside the bare model, then many clients.

  python -m tools.benchmark.serve --dicom_dir=D --clients=20

The floor is the time of the model on the study's slices in memory, in a process that does nothing
else. A client sends the study, retries when the server answers 503 with Retry-After, asks for
the state of the study, and is done once it has the probabilities.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
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

command.add_headings({"dicom_dir": "Study and network", "clients": "Measurement"})
_DICOM_DIR = command.define_path(
    "dicom_dir", "data/samples/subdural", "Folder with the DICOM files of one series."
)
_BACKBONE = flags.DEFINE_string("backbone", "resnet50", "Network, with random weights.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Height and width of the network's input, px."
)
_RECORD_SIZE = flags.DEFINE_integer(
    "record_size", 256, "Rows and columns of the network's records, px."
)
_CLIENTS = flags.DEFINE_integer(
    "clients", 20, "Number of clients that send the study at once.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Requests of the single client, of which the median is printed.", lower_bound=1
)

_POLL_SECONDS = 0.02
_GIVE_UP_SECONDS = 600.0


@dataclass(frozen=True)
class _Outcome:
    """Outcome of one client.

    Attributes:
      seconds: Time from the request to the probabilities, waiting included, s.
      busy: Number of answers with status 503.
      num_slices: Number of predicted slices.
    """

    seconds: float
    busy: int
    num_slices: int


def main() -> None:
    """Measures the floor, one client, then many clients."""
    from tools.benchmark.random_run import make_run
    from tools.benchmark.service import started

    # httpx logs a line for each request.
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
            first = statistics.median(outcome.seconds for outcome in alone)
            print(
                f"one client: {first:.2f} s to {alone[0].num_slices} slices, "
                f"{first / floor:.2f} times the bare model",
                flush=True,
            )
            begun = time.perf_counter()
            outcomes = _send_all(str(service.client.base_url), files)
            whole = time.perf_counter() - begun
            peak = service.peak / 2**30
    _report(outcomes, whole, floor, peak)


def _report(outcomes: list[_Outcome], whole: float, floor: float, peak: float) -> None:
    import numpy as np

    seconds = np.array([outcome.seconds for outcome in outcomes])
    slices = sum(outcome.num_slices for outcome in outcomes)
    print(
        f"{_CLIENTS.value} clients at once: {len(outcomes)} served, "
        f"{_CLIENTS.value - len(outcomes)} "
        f"lost; {sum(outcome.busy for outcome in outcomes)} answers 503; median "
        f"{np.median(seconds):.2f} s, p95 {np.quantile(seconds, 0.95):.2f} s; "
        f"{len(outcomes) / whole:.2f} studies/s, {slices / whole:.1f} slices/s, "
        f"{len(outcomes) * floor / whole:.2f} of the bare model's rate; peak memory of all "
        f"processes {peak:.2f} GiB"
    )


def _floor(work_dir: Path, number: int) -> float:
    """Median seconds of the model for a number of slices."""
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


def _send(client: httpx.Client, files: list[tuple[str, bytes]]) -> _Outcome:
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
    return _Outcome(seconds, busy, sum(series["num_slices"] for series in study["series"]))


def _post(client: httpx.Client, files: list[tuple[str, bytes]]) -> httpx.Response:
    return client.post("/api/studies", files=[("files", file) for file in files])


def _send_all(address: str, files: list[tuple[str, bytes]]) -> list[_Outcome]:
    """Sends the study from all clients at once, each over a connection of its own."""
    import httpx

    outcomes: list[_Outcome] = []
    together = threading.Barrier(_CLIENTS.value)

    def run() -> None:
        with httpx.Client(base_url=address, timeout=_GIVE_UP_SECONDS) as client:
            together.wait()
            outcomes.append(_send(client, files))

    threads = [threading.Thread(target=run) for _ in range(_CLIENTS.value)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


if __name__ == "__main__":
    command.run(main, __doc__)
