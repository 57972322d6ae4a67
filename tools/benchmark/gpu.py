"""Measures training on a GPU: the step, the input, both together, and how long the GPU is idle.

  python -m tools.benchmark.gpu --out_json=gpu.json

Without flags it measures ResNet50 at 224 px and EfficientNet-B4 at 256 and 380 px in float32, TF32
and half precision, XLA off and on, on phantoms that it makes. Every rate is of the product's own
task, input pipeline and step. Beside them stand what NVIDIA published (published.py, in this
folder) and, where PyTorch is installed, timm's network of the same name: in a process of its own,
with the same batch and precision, in turns with ours. On a machine without a GPU the same command
measures the CPU, where nothing is said of idle time.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.errors import UsageError
from ich_tf.runtime import command

command.add_headings(
    {"networks": "Networks", "data_dir": "Data", "steps": "Measurement", "timm": "PyTorch"}
)
_NETWORKS = flags.DEFINE_list(
    "networks",
    [],
    "Networks as backbone:pixels:batch, with random weights. Empty: "
    "resnet50:224:256,efficientnet_b4:256:128,efficientnet_b4:380:64 on GPUs, "
    "resnet50:224:32,efficientnet_b4:256:16 on CPUs.",
)
_PRECISIONS = flags.DEFINE_list(
    "precisions",
    [],
    "float32 (without TF32), tf32, float16, bfloat16. Empty: the first three on GPUs, float32 and "
    "what --mixed_precision=auto chooses on CPUs.",
)
_XLA = flags.DEFINE_list("xla", [], "off, on. Empty: both on GPUs, off on CPUs.")
_RECIPE = flags.DEFINE_enum(
    "recipe",
    "plain",
    ["plain", "strong"],
    "plain: Adam, flips, shifts and rotations. strong: as in configs/resnet50_strong.flags, with "
    "neighbouring slices, AdamW, clipping and a moving average.",
)
_DATA_DIR = command.define_path(
    "data_dir",
    "",
    "Folder of labelled records for all networks. Empty: phantoms are made, with records of 256 px "
    "for 224 and of the input's size otherwise.",
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 20, "Number of synthetic patients.", lower_bound=6
)
_MATRIX = flags.DEFINE_integer("matrix", 512, "Rows and columns of their slices, px.")
_ENCODING = flags.DEFINE_string("encoding", "png", "Encoding of the records.")
_STEPS = flags.DEFINE_integer("steps", 20, "Steps of each measurement.", lower_bound=2)
_TURNS = flags.DEFINE_integer(
    "turns", 2, "Turns of our step and timm's; the best of each is printed.", lower_bound=1
)
_OUT_JSON = command.define_path("out_json", "", "JSON file for all figures. Empty: none.")
_TIMM = flags.DEFINE_enum("timm", "auto", ["auto", "off"], "auto: where PyTorch is installed.")
_PYTORCH_PYTHON = command.define_path(
    "pytorch_python", sys.executable, "Interpreter of the environment with PyTorch and timm."
)
_PYTORCH_COMPILE = flags.DEFINE_bool("pytorch_compile", False, "Compile timm's network.")

_PRECISION_NAMES = ("float32", "tf32", "float16", "bfloat16")


def main() -> None:
    """Makes the phantoms, measures each combination, and prints a line as soon as it is known."""
    from tools.benchmark.training_measurement import device_name
    from tools.benchmark.training_rates import Combination, Rates

    # Before TensorFlow starts, which takes seconds.
    networks = [_network(text) for text in _NETWORKS.value]
    _check_choices("precisions", _PRECISIONS.value, _PRECISION_NAMES)
    _check_choices("xla", _XLA.value, ("off", "on"))
    gpu = device_name()
    networks = networks or [_network(text) for text in _default_networks(bool(gpu))]
    precisions = _PRECISIONS.value or _default_precisions(bool(gpu))
    choices = _XLA.value or (["off", "on"] if gpu else ["off"])
    report: dict[str, Any] = {"device": gpu or platform.processor() or "CPU", **_versions()}
    report["rates"] = []
    print(f"{report['device']}, TensorFlow {report['tensorflow']}, recipe {_RECIPE.value}")
    print(Rates.HEADING, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        records = _Records(Path(folder))
        for backbone, image_size, batch_size in networks:
            for precision in precisions:
                for xla in choices:
                    combination = Combination(
                        backbone, image_size, batch_size, precision, xla == "on", _RECIPE.value
                    )
                    rates = _measured(
                        combination,
                        records.of_size(image_size),
                        steps=_STEPS.value,
                        turns=_TURNS.value,
                        pytorch=None if _TIMM.value == "off" else _PYTORCH_PYTHON.value,
                        pytorch_compile=_PYTORCH_COMPILE.value,
                    )
                    print(rates.line(), flush=True)
                    report["rates"].append({**asdict(combination), **rates.values()})
                    _write(report)


def _measured(combination: Any, manifest: Any, **settings: Any) -> Any:
    """`measure` in a process of its own, without what others compiled and chose.

    In one process float32 ran the TF32 kernels that had been chosen for TF32 before it.
    """
    from ich_tf.runtime.logs import start_logging
    from tools.benchmark.training_measurement import measure

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=start_logging) as process:
        return process.submit(measure, combination, manifest, **settings).result()


def _write(report: dict[str, Any]) -> None:
    if _OUT_JSON.value:
        Path(_OUT_JSON.value).write_text(json.dumps(report, indent=2) + "\n", "utf-8")


class _Records:
    """Records of the same phantoms in the sizes that are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests: dict[int, Any] = {}

    def of_size(self, image_size: int) -> Any:
        """Manifest of labelled records for an input size."""
        from ich_tf.conversion.config import ConversionConfig
        from ich_tf.conversion.convert import convert
        from ich_tf.phantom import PhantomConfig, write_dataset
        from ich_tf.records.manifest import Manifest

        if _DATA_DIR.value:
            return Manifest.load(_DATA_DIR.value)
        size = 256 if image_size == 224 else image_size
        if size not in self._manifests:
            phantoms = self._folder / "phantoms"
            if not phantoms.exists():
                config = PhantomConfig(
                    num_patients=_NUM_PATIENTS.value, seed=0, matrix=_MATRIX.value
                )
                write_dataset(str(phantoms), config)
            out_dir = self._folder / str(size)
            convert(
                ConversionConfig(
                    dicom_dir=str(phantoms / "stage_2_train"),
                    labels_csv=str(phantoms / "stage_2_train.csv"),
                    out_dir=str(out_dir),
                    image_size=size,
                    encoding=_ENCODING.value,
                    allow_lossy=True,
                    num_folds=3,
                    shard_mb=8,
                )
            )
            self._manifests[size] = Manifest.load(out_dir)
        return self._manifests[size]


def _network(text: str) -> tuple[str, int, int]:
    from ich_tf.models.architectures import BACKBONES

    parts = text.split(":")
    if len(parts) == 3 and parts[0] in BACKBONES and all(part.isdigit() for part in parts[1:]):
        return parts[0], int(parts[1]), int(parts[2])
    raise UsageError(
        f"--networks={text}: expected backbone:pixels:batch, for example resnet50:224:256, with a "
        f"backbone among {', '.join(BACKBONES)}."
    )


def _check_choices(flag: str, values: Sequence[str], choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise UsageError(f"--{flag}={value}: expected some of {', '.join(choices)}.")


def _default_networks(has_gpu: bool) -> list[str]:
    if has_gpu:
        return ["resnet50:224:256", "efficientnet_b4:256:128", "efficientnet_b4:380:64"]
    return ["resnet50:224:32", "efficientnet_b4:256:16"]


def _default_precisions(has_gpu: bool) -> list[str]:
    from ich_tf.runtime.precision import choose_precision, devices_of
    from ich_tf.runtime.strategies import make_strategy

    if has_gpu:
        return ["float32", "tf32", "float16"]
    chosen = choose_precision("auto", devices_of(make_strategy("one"))).value
    return list(dict.fromkeys(["float32", chosen]))


def _versions() -> dict[str, str]:
    import tensorflow as tf

    return {"tensorflow": tf.__version__, "python": platform.python_version()}


if __name__ == "__main__":
    command.run(main, __doc__)
