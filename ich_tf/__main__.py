"""The console command `ich-tf`, and `python -m ich_tf`: every command under one name."""

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

# By purpose, each in the order in which they are used.
GROUPS = {
    "data": ("make_tfrecords", "verify_tfrecords", "inspect_tfrecords"),
    "models": ("train", "calibrate", "evaluate", "extract_features"),
    "use": ("predict", "check_submission", "export", "serve"),
    "synthetic patients": ("make_phantoms", "make_samples"),
}
_MODULES = {name.replace("_", "-"): f"ich_tf.{name}" for names in GROUPS.values() for name in names}


def main() -> NoReturn:
    """Runs the command that the first argument names, as `python -m ich_tf.<command>` does."""
    name, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("--help", "-h", "help"):
        command.show(_help())
        raise SystemExit(0)
    if name == "--version":
        print(f"ich_tf {__version__}")
        raise SystemExit(0)
    known = name.replace("_", "-")
    if known not in _MODULES:
        near = difflib.get_close_matches(known, _MODULES, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(f"error: {name} is no command.{hint} See ich-tf --help.", file=sys.stderr)
        raise SystemExit(2)
    # Defines its flags, and no other command's.
    module = importlib.import_module(_MODULES[known])
    sys.argv = [f"ich-tf {known}", *rest]
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
        lines += [f"  {name.replace('_', '-'):<18} {_summary(f'ich_tf.{name}')}" for name in names]
    return "\n".join(lines)


def _summary(module: str) -> str:
    """The first line of a module's docstring. Not imported: that would define its flags."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, "it stands in GROUPS"
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return text.splitlines()[0]


if __name__ == "__main__":
    main()
