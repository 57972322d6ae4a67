"""Tracebacks and log lines tell where, and nothing of what a file holds."""

import doctest
import logging
import pickle
import subprocess
import sys

import pydicom
import pytest

from ich_tf.errors import InputError
from ich_tf.runtime import names, scrubbing
from ich_tf.runtime.debugging import VARIABLE, log_traceback, traceback_text
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.logs import LineFormatter
from ich_tf.runtime.names import printable, printable_lines
from ich_tf.runtime.scrubbing import RemoteTraceback, scrubbed_text, scrubbed_traceback

# Put together, so that no line of code holds it.
NAME = "^".join(("Mei" + "er", "Jo" + "hn"))


def caught(function, *args: object) -> BaseException:
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def quoting(value: str) -> None:
    raise ValueError(f"the value {value!r} of the patient is no number")


def formatting(value: str) -> None:
    raise KeyError("no such %s in %d files" % (value, 7))  # noqa: UP031


def chained(value: str) -> None:
    try:
        quoting(value)
    except ValueError as error:
        raise RuntimeError(value) from error


def in_handler(value: str) -> None:
    try:
        quoting(value)
    except ValueError:
        {}[value]


@pytest.mark.parametrize("module", [scrubbing, names])
def test_examples_in_docstrings_are_true(module) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted and not outcome.failed


def test_of_a_text_the_literals_of_the_code_are_shown() -> None:
    text = scrubbed_text(caught(quoting, NAME))
    assert text == "ValueError: the value … of the patient is no number"
    assert "no such …" in scrubbed_text(caught(formatting, NAME))
    assert scrubbed_text(caught(float, NAME)) == "ValueError: …"
    assert (
        scrubbed_text(caught(open, f"/{NAME}"))
        == "FileNotFoundError: ENOENT No such file or directory"
    )
    assert "no_such_module" in scrubbed_text(caught(__import__, "no_such_module"))


@pytest.mark.parametrize("function", [quoting, formatting, chained, in_handler, float, open])
def test_no_traceback_holds_a_value(function) -> None:
    text = scrubbed_traceback(caught(function, NAME))
    assert "Meier" not in text and "John" not in text
    assert __file__ in text
    if function in (chained, in_handler):
        assert text.count("Traceback") == 2


def test_groups_and_cycles_have_an_end() -> None:
    error, other = caught(quoting, NAME), caught(chained, NAME)
    error.__context__, other.__context__ = other, error
    assert scrubbed_traceback(error).count("ValueError") >= 1
    if sys.version_info >= (3, 11):
        group = ExceptionGroup(NAME, [error, other])  # noqa: F821
        assert "Meier" not in scrubbed_traceback(group)


def test_pydicom_quotes_values_and_its_traceback_does_not() -> None:
    def read() -> None:
        pydicom.DataElement(0x00280030, "DS", NAME, validation_mode=pydicom.config.RAISE)

    error = caught(read)
    assert NAME in str(error)
    assert "Meier" not in scrubbed_traceback(error)
    assert "valuerep.py" in scrubbed_traceback(error)


def test_only_a_second_word_shows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    error = caught(quoting, NAME)
    monkeypatch.setenv(VARIABLE, "1")
    assert "Meier" not in traceback_text(error) and f"{VARIABLE}=full" in traceback_text(error)
    monkeypatch.setenv(VARIABLE, "full")
    assert NAME in traceback_text(error)


def test_a_logged_traceback_is_scrubbed_for_every_formatter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    log_traceback(caught(chained, NAME))
    assert "quoting" in caplog.text and "Meier" not in caplog.text
    (record,) = caplog.records
    assert "Meier" not in logging.Formatter().format(record)


def test_an_error_of_a_worker_is_scrubbed_there() -> None:
    with LocalExecutor(2) as executor:
        error = caught(list, executor.map(quoting, [NAME, NAME]))
    assert isinstance(error.__cause__, RemoteTraceback)
    text = scrubbed_traceback(error)
    assert "the value … of the patient" in text and "Meier" not in text


def test_a_line_of_the_log_stays_a_line() -> None:
    record = logging.LogRecord(
        "a", logging.INFO, "", 0, "%s: read", ("x\n12:00:00 forged\x1b[2J\u202e\ud800",), None
    )
    line = LineFormatter("%(message)s").format(record)
    assert line == r"x\n12:00:00 forged\x1b[2J\u202e\ud800: read"
    error = caught(quoting, NAME)
    record = logging.LogRecord(
        "asyncio", 40, "", 0, f"never retrieved\n{error!r}", (), (type(error), error, None)
    )
    assert "Meier" not in LineFormatter("%(message)s").format(record)


def test_an_address_loses_its_password() -> None:
    text = "no answer of tcp://ada:pa55@host:8786"
    record = logging.LogRecord("a", logging.INFO, "", 0, text, (), None)
    assert LineFormatter("%(message)s").format(record) == "no answer of tcp://…@host:8786"


@pytest.mark.parametrize("process", ["worker", pytest.param("command", marks=pytest.mark.slow)])
def test_pydicom_warns_of_values_in_no_process_of_a_command(process: str) -> None:
    code = """
import logging, sys, pydicom
from ich_tf.runtime.debugging import scrub_tracebacks
from ich_tf.runtime.logs import format_last_resort, start_logging
scrub_tracebacks()
format_last_resort() if sys.argv[1] == "worker" else start_logging()
logging.getLogger("pydicom").warning("Invalid value for VR UI: %r", "Meier")
pydicom.DataElement(0x00080018, "UI", "Meier", validation_mode=pydicom.config.WARN)
"""
    command = [sys.executable, "-c", code, process]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Meier" not in done.stdout + done.stderr


def test_text_on_the_terminal_holds_no_commands_for_it() -> None:
    assert printable_lines("a\x1b[31m\r\nb\tc") == "a\\x1b[31m\\r\nb\tc"
    assert printable("a\x9b1m\u2066é") == "a\\x9b1m\\u2066é"


def test_errors_of_users_stay_errors_through_a_worker() -> None:
    error = pickle.loads(pickle.dumps(InputError("text")))
    assert str(error) == "text"
