"""The architecture, held: imports run one way, absl stays out of the library, TensorFlow waits."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A room may import those above it. The order of BUILD.md's picture.
ORDER = [
    "errors",
    "labels",
    "metrics.binary",
    "metrics.log_loss",
    "metrics.ranking",
    "metrics.operating_points",
    "metrics.calibration_error",
    "metrics.bootstrap",
    "stack",
    "metrics.keras2",
    "metrics.keras3",
    "metrics",
    "reasons",
    "isolation",
    "plain",
    "decoders",
    "dicom",
    "series",
    "windows",
    "crop",
    "phantom",
    "splits",
    "tfrecord",
    "records",
    "shards",
    "sources",
    "progress",
    "pages",
    "reading",
    "conversion.config",
    "conversion.executor",
    "conversion.local",
    "conversion.dask",
    "conversion.beam",
    "conversion.runners",
    "conversion.rejection",
    "conversion.pseudonyms",
    "conversion.matching",
    "conversion.index",
    "conversion.plan",
    "conversion.execute",
    "conversion.lookup",
    "conversion.report",
    "conversion.tfds",
    "conversion.summary",
    "conversion.convert",
    "conversion.dry_run",
    "conversion.repair",
    "conversion",
    "verification",
    "inspection",
    "stored_slices",
    "masks",
    "config",
    "calibrators",
    "smoothing",
    "levels",
    "mixing",
    "postprocessing",
    "addons",
    "neighbours",
    "input_pipeline",
    "augment",
    "losses",
    "class_balance",
    "dropout",
    "models",
    "model_spec",
    "rendezvous",
    "strategies",
    "precision",
    "optimizers",
    "inference",
    "series_features",
    "series_model",
    "end_to_end",
    "alignment",
    "checkpoints",
    "ensemble",
    "predictor",
    "series_predictor",
    "scores",
    "subgroups",
    "history",
    "figures",
    "run_log",
    "training_step",
    "self_check",
    "interruption",
    "epoch",
    "feature_extraction",
    "training_task",
    "series_task",
    "end_to_end_task",
    "trainer",
    "calibration",
    "localization",
    "evaluation",
    "heatmaps",
    "explanation",
    "evaluation_report",
    "model_card",
    "provenance",
    "evaluator",
    "cross_validation",
    "submission",
    "prediction_store",
    "slice_reader",
    "series_summary",
    "prediction",
    "saved_model",
    "serving",
    "serving.errors",
    "serving.limits",
    "serving.config",
    "serving.archives",
    "serving.uploads",
    "serving.decoding",
    "serving.studies",
    "serving.samples",
    "serving.monitoring",
    "serving.analysis",
    "serving.results",
    "serving.model_thread",
    "serving.pipeline",
    "serving.answers",
    "serving.dicom_report",
    "serving.docs_page",
    "serving.guard",
    "serving.api",
    "serving.server",
    "flagfiles",
    "command",
]
RUNNABLE = {
    "__main__",
    "cli",
    "command",
    "make_tfrecords",
    "verify_tfrecords",
    "inspect_tfrecords",
    "check_submission",
    "make_phantoms",
    "make_samples",
    "train",
    "calibrate",
    "evaluate",
    "predict",
    "export",
    "extract_features",
    "serve",
}
NO_TENSORFLOW = [
    "ich_tf",
    "ich_tf.labels",
    "ich_tf.dicom",
    "ich_tf.series",
    "ich_tf.windows",
    "ich_tf.metrics",
    "ich_tf.records",
    "ich_tf.reading",
    "ich_tf.conversion.convert",
    "ich_tf.conversion.execute",
    "ich_tf.verification",
    "ich_tf.inspection",
    "ich_tf.phantom",
    "ich_tf.config",
    "ich_tf.postprocessing",
    "ich_tf.mixing",
    "ich_tf.levels",
    "ich_tf.serving.config",
    "ich_tf.serving.decoding",
    "ich_tf.serving.uploads",
]
COMMANDS = [
    "tools.make_phantoms",
    "tools.make_samples",
    "tools.make_tfrecords",
    "tools.verify_tfrecords",
    "tools.inspect_tfrecords",
    "tools.benchmark.commits",
    "tools.benchmark.convert",
    "tools.benchmark.input",
    "tools.benchmark.memory",
    "tools.benchmark.predict",
    "tools.benchmark.serve",
    "tools.benchmark.series",
    "tools.benchmark.train",
    "tools.check_submission",
    "tools.compare_context",
    "tools.compare_postprocessing",
    "tools.compare_recipes",
    "tools.demo",
    "tools.draw_docs",
    "tools.draw_page",
    "ich_tf.train",
    "ich_tf.calibrate",
    "ich_tf.evaluate",
    "ich_tf.predict",
    "ich_tf.export",
    "ich_tf.extract_features",
    "ich_tf.serve",
]


def rooms() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "ich_tf").rglob("*.py")):
        parts = path.relative_to(ROOT / "ich_tf").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found[name] = path
    return found


def rank(name: str) -> int:
    """A room's place; modules of a package that ORDER does not name share the package's."""
    while name not in ORDER and "." in name:
        name = name.rsplit(".", 1)[0]
    return ORDER.index(name)


def imported_rooms(path: Path, known: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        else:
            names = []
        for name in names:
            room = name.removeprefix("ich_tf.")
            if name.startswith("ich_tf.") and room in known:
                found.add(room)
    return found


def test_every_room_has_its_place() -> None:
    named = {name for name in rooms() if name not in RUNNABLE}
    assert {name for name in named if name.split(".")[0] not in ORDER} == set()
    assert {name for name in ORDER if name not in rooms()} == set()


def test_imports_run_one_way() -> None:
    known = set(rooms())
    wrong = [
        f"{name} imports {other}"
        for name, path in rooms().items()
        if name not in RUNNABLE
        for other in imported_rooms(path, known)
        if other in RUNNABLE
        or rank(other) > rank(name)
        or (rank(other) == rank(name) and other.split(".")[0] != name.split(".")[0])
    ]
    assert wrong == []


def test_absl_stays_in_runnable_modules() -> None:
    wrong = [
        name
        for name, path in rooms().items()
        if name not in RUNNABLE and "absl" in path.read_text("utf-8")
    ]
    assert wrong == []


def test_tensorflow_addons_stays_behind_two_modules() -> None:
    """Loaded on use by `addons`, which augmentation and optimizers alone ask for it."""
    known = set(rooms())
    imports = {
        name for name, path in rooms().items() if "import tensorflow_addons" in path.read_text()
    }
    assert imports == {"addons"}
    users = {name for name, path in rooms().items() if "addons" in imported_rooms(path, known)}
    assert users == {"augment", "optimizers"}


def test_no_module_is_called_utils() -> None:
    assert [name for name in rooms() if "util" in name or "helper" in name] == []


@pytest.mark.parametrize("module", NO_TENSORFLOW)
def test_no_tensorflow(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_loads_little_and_exits_with_0(module: str) -> None:
    """What takes seconds to import is not imported: that, not a clock, is what is tested."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"{module} --help: {time.perf_counter() - start:.2f} s")
    assert done.returncode == 0
    assert "flags:" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert loaded & {"tensorflow", "pandas", "sklearn", "matplotlib", "pydicom"} == set()
