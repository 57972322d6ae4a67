"""The rule of imports: rooms import one way, absl stays in commands, TensorFlow waits."""

import ast
import functools
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.commands import ROOT

PACKAGE = ROOT / "ich_tf"
# A room imports those before it. What stands beside them at the top of the package is a command.
ROOMS = (
    "errors", "runtime", "labels", "windows", "losses", "metrics", "dicom", "masks",
    "image_quality", "phantom", "records", "conversion", "models", "reporting", "inference",
    "training", "evaluation", "comparison", "acceptance", "serving", "gateway", "commands",
)  # fmt: skip
# The one module of the library that defines and reads flags, for all commands.
FLAGS = "runtime.command"
# Keras metrics and training losses are asked for by name; the rest of these rooms, and what
# commands import before they have parsed their flags, has no need of TensorFlow.
WITHOUT_TENSORFLOW = (
    "labels", "windows", "metrics", "dicom", "masks", "image_quality", "phantom", "records",
    "conversion.convert", "conversion.verification", "conversion.inspection",
    "conversion.write_shard",
    "training.config", "inference.config", "evaluation.config", "comparison.comparison",
    "serving.config",
    "gateway.config", "gateway.config_file", "gateway.destinations", "gateway.limits",
    "gateway.poller", "gateway.ports", "gateway.receiver", "gateway.spool", "gateway.stow",
    "gateway.tls",
    "inference.prediction.model_image", "inference.postprocessing.postprocessing",
    "serving.decoding", "serving.upload_reader", "serving.uploads",
)  # fmt: skip
# The modules of tools/benchmark and tools/ that are commands have a docstring with an example.
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("ich_tf", "tools", "tools/benchmark")
    for path in [*(ROOT / folder).glob("*.py"), *(ROOT / folder).glob("*/__main__.py")]
    if "command.run(main" in path.read_text("utf-8")
)


@functools.cache
def modules() -> dict[str, Path]:
    """Names of the package's modules, without `ich_tf.`, and their files."""
    paths = {
        path.relative_to(PACKAGE).with_suffix(""): path for path in sorted(PACKAGE.rglob("*.py"))
    }
    return {
        ".".join(part for part in name.parts if part != "__init__"): path
        for name, path in paths.items()
    }


def room(module: str) -> str:
    first = module.split(".")[0]
    return first if first in ROOMS else "commands"


def imports(path: Path, *, at_import: bool = False) -> set[str]:
    """Modules of the package that a file imports; with `at_import` not those within functions."""
    known = modules()
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if at_import else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules_among = {name for name in members if name.removeprefix("ich_tf.") in known}
            names |= modules_among
            if modules_among != members:
                names.add(str(node.module))
    return {name.removeprefix("ich_tf.") for name in names} & set(known)


def test_rooms_import_one_way() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, path in modules().items()
        if module
        for other in sorted(imports(path))
        if other and ROOMS.index(room(other)) > ROOMS.index(room(module))
    ]
    assert wrong == []


def test_commands_import_no_commands() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, path in modules().items()
        if room(module) == "commands"
        for other in sorted(imports(path))
        if other and room(other) == "commands"
    ]
    assert wrong == []


def test_modules_import_in_no_circle() -> None:
    graph = {module: imports(path, at_import=True) - {module} for module, path in modules().items()}
    # A package's face imports its modules, and is no part of the order among them.
    faces = {module for module, path in modules().items() if path.name == "__init__.py"}
    order = TopologicalSorter(
        {module: graph[module] - faces for module in graph if module not in faces}
    )
    order.prepare()


def test_absl_stays_in_commands() -> None:
    wrong = [
        module
        for module, path in modules().items()
        if room(module) != "commands" and module != FLAGS and "absl" in path.read_text("utf-8")
    ]
    assert wrong == []


def test_tensorflow_addons_are_imported_in_one_place() -> None:
    users = [
        module
        for module, path in modules().items()
        if "import tensorflow_addons" in path.read_text("utf-8")
    ]
    assert users == ["runtime.addons"]


def test_no_module_is_called_utils() -> None:
    assert [name for name in modules() if "util" in name or "helper" in name] == []


def test_these_modules_load_no_tensorflow() -> None:
    """One process imports them one after the other, and names the first that loads it."""
    code = (
        "import importlib, sys\n"
        f"for name in {WITHOUT_TENSORFLOW!r}:\n"
        "    importlib.import_module(f'ich_tf.{name}')\n"
        "    if 'tensorflow' in sys.modules: sys.exit(f'ich_tf.{name} loads TensorFlow')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", COMMANDS)
def test_help_loads_little_and_exits_with_0(module: str) -> None:
    """What takes seconds to import is not imported: that, not a clock, is what is tested."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "flags:" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert loaded & {"tensorflow", "pandas", "sklearn", "matplotlib", "pydicom"} == set()
