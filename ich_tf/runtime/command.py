"""Flags, help, exit codes and log lines, which every command shares. For commands only.

Exit codes: 0 done; 1 the work failed, with one paragraph on stderr; 2 wrong usage;
130 interrupted; 143 terminated. `--debug` adds the traceback.
"""

from __future__ import annotations

import dataclasses
import io
import os
import resource
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from absl import flags

from ich_tf.errors import InputError, Terminated, UsageError
from ich_tf.runtime.debugging import print_traceback, scrub_tracebacks, start_debugging
from ich_tf.runtime.flagfiles import expand, recipes
from ich_tf.runtime.help_page import FlagHelp, describe_flags
from ich_tf.runtime.logs import start_logging
from ich_tf.runtime.names import printable, printable_lines, without_credentials
from ich_tf.runtime.out_of_memory import describe_out_of_memory
from ich_tf.runtime.paths import user_path
from ich_tf.runtime.permissions import READERS, restrict
from ich_tf.runtime.sigterm import end_in_order
from ich_tf.runtime.writing import describe

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_DEBUG = flags.DEFINE_bool(
    "debug",
    False,
    "Print the traceback of an error, without what it quotes of files.",
)
_READABLE_BY = flags.DEFINE_enum(
    "readable_by",
    "owner",
    list(READERS),
    "Users who may read what the command creates; a narrower umask stays as it is. Nobody but the "
    "owner may write it.",
)
_EVERY_COMMAND = "Every command"

# TensorFlow 2.15 enables oneDNN by default only on CPUs with AVX-512 or later. On a CPU with AVX2
# oneDNN trained ResNet50 at 64 px 2.9 times as fast (36.5 against 12.6 slices/s, 2 cores).
_TENSORFLOW_ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # 3, not 2: TensorFlow 2.15 logs an error at every import on a machine without a GPU, that
    # CUDA factories were registered twice. Errors that matter are exceptions as well.
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

Config = TypeVar("Config")
# First flag of a group -> the group's heading in --help.
_HEADINGS: dict[str, str] = {}
# Flag -> its range, as --help shows it.
_RANGES: dict[str, str] = {}
# Flags whose values are secrets.
_SECRETS: set[str] = set()


def run(main: Callable[[], None], doc: str | None) -> NoReturn:
    """Parses the flags, runs `main`, and exits with the documented code.

    Args:
      main: The command, which reads its flags and calls the library.
      doc: Docstring of the command's module, which `--help` prints above the flags.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where a test replaced it
            stream.reconfigure(errors="backslashreplace")  # a path may be any bytes
    scrub_tracebacks()
    _parse(sys.argv, doc or "")
    restrict(_READABLE_BY.value)
    # What a process that crashes leaves would hold all that it read.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    end_in_order(EXIT_TERMINATED)
    for name, value in _TENSORFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _DEBUG.value:
        start_debugging()
    start_logging()
    try:
        main()
    except UsageError as error:
        _fail(error, EXIT_USAGE)
    except InputError as error:
        _fail(error, EXIT_FAILED)
    except KeyboardInterrupt as error:
        print("Interrupted. Run the same command again to continue.", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from error
    except Terminated as error:
        show_error(f"{error} Run the same command again to continue.")
        raise SystemExit(EXIT_TERMINATED) from error
    # Of whatever library: a full disk or memory is no error of the program.
    except Exception as error:
        text = describe(error) or describe_out_of_memory(error)
        if text is None:
            raise
        _fail(error, EXIT_FAILED, text)
    raise SystemExit(EXIT_OK)


def hold_no_patients() -> None:
    """Has everyone whom the umask allows read what this command creates: models and phantoms."""
    flags.set_default(_READABLE_BY, "everyone")


def show_error(text: str) -> None:
    """Prints one line on stderr; whatever a name or a file puts into it stays one line."""
    print(printable(without_credentials(" ".join(text.split()))), file=sys.stderr)


def show(text: object) -> None:
    """Prints a text on stdout.

    Control characters, which a file's name or content may hold to write on the terminal, are
    escaped. That a reader such as `head` stops early is ignored.
    """
    try:
        print(printable_lines(str(text)), flush=True)
    except BrokenPipeError:
        # Python flushes stdout again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_headings(headings: Mapping[str, str]) -> None:
    """Groups flags in `--help`.

    Args:
      headings: Name of the first flag of a group -> heading of the group.
    """
    _HEADINGS.update(headings)


def define_flags(config_class: type[Any], exclude: Sequence[str] = ()) -> None:
    """Defines one flag for each field of a config dataclass.

    A field's default is the flag's default, and a sequence of strings is a comma-separated list.
    Help, choices and range come from `option`. The class attribute `HEADINGS`, as for
    `add_headings`, groups the flags.

    Args:
      config_class: Dataclass whose fields were made by `option`.
      exclude: Names of fields that get no flag.
    """
    types = typing.get_type_hints(config_class)
    add_headings(getattr(config_class, "HEADINGS", {}))
    for field in dataclasses.fields(config_class):
        if field.name in exclude:
            continue
        name, help_text = field.name, field.metadata["help"]
        kind = types[field.name]
        if field.metadata.get("is_secret"):
            _SECRETS.add(name)
        if "within" in field.metadata:
            _RANGES[name] = str(field.metadata["within"])
        if field.metadata["is_path"]:
            define_path(name, field.default, help_text)
        elif "choices" in field.metadata:
            choices = list(field.metadata["choices"])
            flags.DEFINE_enum(name, field.default, choices, help_text)  # type: ignore[arg-type]
        elif kind is bool:
            flags.DEFINE_bool(name, field.default, help_text)  # type: ignore[arg-type]
        elif kind is int:
            flags.DEFINE_integer(name, field.default, help_text)  # type: ignore[arg-type]
        elif kind is float:
            flags.DEFINE_float(name, field.default, help_text)  # type: ignore[arg-type]
        elif kind is str:
            flags.DEFINE_string(name, field.default, help_text)  # type: ignore[arg-type]
        else:
            flags.DEFINE_list(name, list(field.default), help_text)  # type: ignore[arg-type]


def define_path(name: str, default: Any, help_text: str) -> flags.FlagHolder[Any]:
    """Defines a flag that is a path, or a comma-separated list of paths, with `~` expanded.

    Args:
      name: Name of the flag.
      default: Default path; a sequence for a list of paths.
      help_text: Meaning, for `--help`.
    """
    parser = _PathParser() if isinstance(default, str) else _PathListParser()
    default = default if isinstance(default, str) else list(default)
    return flags.DEFINE(parser, name, default, help_text)


class _PathParser(flags.ArgumentParser[str]):
    def parse(self, argument: str) -> str:
        return user_path(argument)


class _PathListParser(flags.ListParser):
    def parse(self, argument: str | list[str]) -> list[str]:
        return [user_path(path) for path in super().parse(argument)]


def config_from_flags(config_class: type[Config], **given: Any) -> Config:
    """Makes a config from the parsed flags.

    Args:
      config_class: Class that `define_flags` was called with.
      **given: Values of fields, used instead of their flags.
    """
    values = dict(given)
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        if field.name in values:
            continue
        value = flags.FLAGS[field.name].value
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values)


def _parse(argv: Sequence[str], doc: str) -> None:
    if any(argument in ("--help", "-help", "-h", "-?") for argument in argv[1:]):
        show(f"{doc.strip()}\n\nflags:\n{_describe_own_flags()}")
        raise SystemExit(EXIT_OK)
    try:
        rest = flags.FLAGS([argv[0], *expand(argv[1:], _SECRETS)])
    except UsageError as error:  # raised by `expand`
        show_error(str(error))
        raise SystemExit(EXIT_USAGE) from error
    except flags.Error as error:
        show_error(str(error))
        show_error("See --help for the flags of this command.")
        raise SystemExit(EXIT_USAGE) from error
    if len(rest) > 1:
        # A line of a file may be a secret without its flag; what was typed is no secret any more.
        shown = [text if text in argv else "a line of a --flagfile" for text in rest[1:]]
        show_error(
            f"Not a flag: {' '.join(shown)}. Every argument must be a flag, written as "
            "--name=value; see --help."
        )
        raise SystemExit(EXIT_USAGE)


def _describe_own_flags() -> str:
    """The flags of the command, then those of every command, without absl's own."""
    of_absl = {
        flag.name
        for module, members in flags.FLAGS.flags_by_module_dict().items()
        if module.startswith("absl")
        for flag in members
    }
    # In the order of their definition.
    defined = {name: flags.FLAGS[name] for name in flags.FLAGS if name not in of_absl}
    of_all = [defined.pop(flag.name) for flag in (_READABLE_BY, _DEBUG)]
    flagfile = FlagHelp(
        "flagfile",
        "File of flags, one a line, or a recipe of ich_tf by name: "
        f"{', '.join(f'@{name}' for name in recipes())}. A flag on the command line wins over the "
        "same flag of a file.",
        "",
    )
    shown = [*map(_flag_help, defined.values()), flagfile, *map(_flag_help, of_all)]
    return describe_flags(shown, {**_HEADINGS, flagfile.name: _EVERY_COMMAND})


def _flag_help(flag: flags.Flag) -> FlagHelp:
    choices = getattr(flag.parser, "enum_values", None) or ()
    # absl puts the choices of an enumeration before its help.
    meaning = flag.help.removeprefix(f"<{'|'.join(choices)}>: ")
    valid_range = _RANGES.get(flag.name, "")
    lower = getattr(flag.parser, "lower_bound", None)
    if not valid_range and lower is not None:
        valid_range = f"{lower} or more"
    return FlagHelp(flag.name, meaning, flag.default, choices, valid_range)


def _fail(error: Exception, code: int, text: str = "") -> NoReturn:
    if _DEBUG.value:
        print_traceback(error)
    print(file=sys.stderr)
    show_error(f"error: {text or error}")
    raise SystemExit(code)
