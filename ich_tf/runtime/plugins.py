"""Functions of a user's own that a flag names as module:function."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ich_tf.errors import UsageError

_NAME = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")


def load_function(name: str, flag: str) -> Callable[..., Any]:
    """Imports a function by its name.

    Modules are looked for where Python looks, and in the current folder.

    Args:
      name: Module and function, such as `my_networks:tiny` or `package.module:function`.
      flag: Name of the flag that the name was given to, for the messages.

    Raises:
      UsageError: If there is no such module or function, the module cannot be imported, or what
        bears the name cannot be called.

    Examples:
      >>> load_function("math:sqrt", "backbone")(9.0)
      3.0
      >>> load_function("math:square_root", "backbone")
      Traceback (most recent call last):
      ich_tf.errors.UsageError: --backbone=math:square_root: the module math has no square_root.
    """
    given = f"--{flag}={name}"
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{given}: expected module:function, such as my_module:my_function.")
    module_name, function_name = match["module"], match["function"]
    module = _import(module_name, given)
    if not hasattr(module, function_name):
        raise UsageError(f"{given}: the module {module_name} has no {function_name}.")
    function = getattr(module, function_name)
    if not callable(function):
        raise UsageError(
            f"{given}: {function_name} is of type {type(function).__name__}; expected a function."
        )
    return function  # type: ignore[no-any-return]


def one_sentence(error: BaseException) -> str:
    """The text of a foreign error in one line, with one full stop at its end."""
    return " ".join(str(error).split()).rstrip(".") + "."


def _import(module_name: str, given: str) -> Any:
    # `python -m` looks in the current folder anyway, an installed command does not.
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{given}: there is no module {error.name}, neither installed nor in the current "
                f"folder, {here}. Run the command where the module lies, or set PYTHONPATH."
            ) from error
        raise UsageError(
            f"{given}: the module {module_name} imports {error.name}, which is not installed."
        ) from error
    # Whatever the module does when it is imported, SystemExit among it.
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{given}: the module {module_name} cannot be imported: "
            f"{type(error).__name__}: {one_sentence(error)}"
        ) from error
