"""Measures an exported model in its formats, one after the other in turns.

  python -m tools.benchmark.export --backbones=resnet50

Each format runs the slices of one call, from Hounsfield units to probabilities, on this machine's
CPUs. Needs the extra onnx.

Exit codes: 0 done; 1 a model cannot be exported; 2 wrong usage.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command

command.add_headings({"backbones": "Networks", "slices": "Measurement"})
_BACKBONES = flags.DEFINE_list(
    "backbones", ["resnet50", "tiny"], "Networks to measure, with random weights."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Height and width of the network's input, px."
)
_RECORD_SIZE = flags.DEFINE_integer(
    "record_size", 256, "Rows and columns of the network's records, px."
)
_SLICES = flags.DEFINE_integer("slices", 16, "Slices of 512 px in a call.", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 5, "Timed calls of each format.", lower_bound=1)


def main() -> None:
    """Exports each network in both formats, and times their calls."""
    from tools.benchmark.random_run import make_run

    with tempfile.TemporaryDirectory() as folder:
        for backbone in _BACKBONES.value:
            work_dir = make_run(
                Path(folder) / backbone, backbone, _IMAGE_SIZE.value, _RECORD_SIZE.value
            )
            _measure(backbone, work_dir)


def _measure(backbone: str, work_dir: Path) -> None:
    import numpy as np

    from ich_tf.inference.config import ExportConfig
    from ich_tf.inference.export import export

    folder = export(ExportConfig(work_dir=str(work_dir), format="both"))
    hu = np.random.default_rng(0).integers(-100, 200, (_SLICES.value, 512, 512))
    calls = {"SavedModel": _saved_model(folder), "ONNX Runtime": _onnx(folder)}
    slices = hu.astype(np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_TURNS.value + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call(slices)
            if turn:  # the first compiles
                seconds[name].append(time.perf_counter() - began)
    speeds = {name: _SLICES.value / statistics.median(times) for name, times in seconds.items()}
    ratio = statistics.median(saved / other for saved, other in zip(*seconds.values(), strict=True))
    told = ", ".join(f"{name} {speed:.1f} slices/s" for name, speed in speeds.items())
    print(f"{backbone} {_IMAGE_SIZE.value} px: {told}; ONNX Runtime is {ratio:.2f} times as fast")


def _saved_model(folder: Path) -> Callable[[Any], Any]:
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return lambda hu: serve(hu=tf.constant(hu))["probabilities"].numpy()


def _onnx(folder: Path) -> Callable[[Any], Any]:
    import onnxruntime

    from ich_tf.inference.export import ONNX

    session = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    return lambda hu: session.run(["probabilities"], {"hu": hu})


if __name__ == "__main__":
    command.run(main, __doc__)
