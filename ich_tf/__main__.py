"""The console command `ich-tf`, also `python -m ich_tf`, which runs every other command."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import NoReturn

from ich_tf import __version__
from ich_tf.runtime import command

# Commands by purpose, in the order of their use.
GROUPS = {
    "data": ("make_tfrecords", "verify_tfrecords", "inspect_tfrecords"),
    "models": ("train", "calibrate", "evaluate", "compare", "extract_features"),
    "use": ("predict", "attach", "check_submission", "export", "bundle", "serve", "gateway"),
    "synthetic patients": (
        "make_phantoms",
        "make_samples",
        "realism",
        "insert_bleeds",
        "acceptance",
    ),
}
# A command that shares its name with a room is the room's module __main__.
_ROOMS = ("gateway", "acceptance")
_MODULES = {
    name.replace("_", "-"): f"ich_tf.{name}.__main__" if name in _ROOMS else f"ich_tf.{name}"
    for names in GROUPS.values()
    for name in names
}


def main() -> NoReturn:
    """Runs the command named by the first argument, as `python -m ich_tf.<command>` does."""
    name, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("--help", "-h", "help"):
        command.show(_help())
        raise SystemExit(0)
    if name == "--version":
        print(f"ich_tf {__version__}")
        raise SystemExit(0)
    command_name = name.replace("_", "-")
    if command_name not in _MODULES:
        similar = difflib.get_close_matches(command_name, _MODULES, 1)
        hint = f" Did you mean {similar[0]}?" if similar else ""
        print(f"error: {name} is no command.{hint} See ich-tf --help.", file=sys.stderr)
        raise SystemExit(2)
    # The import defines flags: only those of the command that runs.
    module = importlib.import_module(_MODULES[command_name])
    sys.argv = [f"ich-tf {command_name}", *rest]
    command.run(module.main, module.__doc__)


def _help() -> str:
    lines = [
        "Head CT DICOMs -> TFRecords -> intracranial hemorrhage classifiers in Keras.",
        "Research only: not for clinical use.",
        "",
        "  ich-tf COMMAND --flag=value ...      ich-tf COMMAND --help      ich-tf --version",
    ]
    for group, names in GROUPS.items():
        lines += ["", f"{group}:"]
        for name in (each.replace("_", "-") for each in names):
            lines.append(f"  {name:<18} {_summary(_MODULES[name])}")
    return "\n".join(lines)


def _summary(module: str) -> str:
    """First line of a module's docstring, read without an import, which would define flags."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, "a module of GROUPS"
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return text.splitlines()[0]


if __name__ == "__main__":
    main()
