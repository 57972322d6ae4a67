"""What users set: flag files, paths, options, TF_CONFIG, a gateway's config."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.errors import ConfigError, UsageError
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.config_file import load_config
from ich_tf.runtime.flagfiles import expand, recipes
from ich_tf.runtime.options import ValueRange
from ich_tf.runtime.paths import user_path
from ich_tf.runtime.tf_config import addresses, split_address
from ich_tf.runtime.tokens import read_token
from tests.support.strategies import (
    ODD_TEXTS,
    damaged,
    file_texts,
    json_values,
    mutated_json,
    odd_texts,
    refused_in_a_paragraph,
)

# --- Flag files -------------------------------------------------------------------------------

values = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=12
).map(str.strip)
flags = st.tuples(st.sampled_from(("--a", "--work_dir", "-b")), values).map("=".join)


@given(st.lists(flags, max_size=5), st.sampled_from(("\n", "\r\n", "\r")), st.booleans())
@example(["--a=two words", '--a="quoted"', "--a=#no comment", "--a=x\x0cy\x85z\u2028w"], "\n", True)
def test_flags_of_a_file_come_back(folder: Path, lines: list[str], end: str, mark: bool) -> None:
    path = folder / "own.flags"
    text = end.join(["# a comment", "", *(f"  {line}\t" for line in lines), "// another"])
    path.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    assert expand([f"--flagfile={path}", "--last"]) == [*lines, "--last"]


@st.composite
def flag_files(draw: st.DrawFn, names: tuple[str, ...] = ("a", "b", "c")) -> dict[str, str]:
    """Files that include each other, themselves, recipes and what is not there."""
    included = st.one_of(
        st.sampled_from(names),
        st.sampled_from((*(f"@{name}" for name in recipes()), "@", "@@", "@../base", "")),
        st.sampled_from([text for text in ODD_TEXTS if "\ud800" not in text]),
    )
    line = st.one_of(
        flags,
        included.map("--flagfile={}".format),
        included.map("-flagfile\n{}".format),
        st.sampled_from(("--", "--flagfile", "--flagfile=", "-", "=", "--=1")),
        file_texts(20),
    )
    return {name: "\n".join(draw(st.lists(line, max_size=4))) for name in names}


@given(flag_files())
@example({"a": "--flagfile=b\n--flagfile=b", "b": "--flagfile=c\n--flagfile=c", "c": "--x"})
@example({"a": "--flagfile=" + "a" * 300, "b": "", "c": ""})
@example({"a": "--flagfile", "b": "", "c": ""})
def test_any_flag_files_are_flags_or_refused(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8", newline="")
    here = Path.cwd()
    os.chdir(folder)
    try:
        with refused_in_a_paragraph("--flagfile"):
            assert all(type(flag) is str for flag in expand(["--flagfile=a"]))
    finally:
        os.chdir(here)


@given(st.binary(max_size=200))
@example(b"\xff\xfe-\x00-\x00a\x00")
@example(b"--a=\0")
def test_any_bytes_are_flags_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "own.flags"
    path.write_bytes(content)
    with refused_in_a_paragraph("--flagfile"):
        expand([f"--flagfile={path}"])


def test_files_that_include_each_other_twice_end(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}").write_text(f"--flagfile={tmp_path / str(number + 1)}\n" * 2)
    (tmp_path / "40").write_text("--x=1\n")
    with pytest.raises(UsageError, match="within each other"):
        expand([f"--flagfile={tmp_path / '0'}"])
    with pytest.raises(UsageError, match="more than 200 others"):
        expand([f"--flagfile={tmp_path / '30'}"])


def test_a_device_without_end_is_no_flag_file(tmp_path: Path) -> None:
    for path in (Path("/dev/zero"), tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            expand([f"--flagfile={path}"])


# --- Paths and options ------------------------------------------------------------------------


@given(odd_texts())
@example("a" * 256)
@example("a/" * 3000)
@example("\ud800")
@example("~\0")
@example("x" * 100_000)
def test_any_text_is_a_path_or_none(text: str) -> None:
    try:
        path = user_path(text)
    except ValueError as error:
        assert len(str(error)) < 400
        return
    try:
        Path(path).exists()
        os.stat(path or ".")  # noqa: PTH116
    except OSError as error:
        assert error.strerror in ("No such file or directory", "Not a directory")


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers, st.booleans(), st.booleans(), numbers)
def test_a_range_says_what_it_holds(low: float, high: float, a: bool, b: bool, x: float) -> None:
    low, high = min(low, high), max(low, high)
    range_ = ValueRange.parse(f"{'[' if a else '('}{low!r}, {high!r}{']' if b else ')'}")
    for value in (x, low, high):
        above = value >= low if a else value > low
        assert (value in range_) == (above and (value <= high if b else value < high))
    assert math.nan not in range_


of_any_type = st.one_of(
    json_values(), st.just(math.nan), st.just(math.inf), st.integers(2**64, 10**5000), st.binary()
)


@given(st.data())
def test_any_value_of_an_option_is_right_or_refused(data: st.DataObject) -> None:
    default = {field.name: field for field in dataclasses.fields(GatewayConfig)}
    section: Any = default[data.draw(st.sampled_from(sorted(default)))].default_factory
    field = data.draw(st.sampled_from(dataclasses.fields(section)))
    value = data.draw(of_any_type)
    with refused_in_a_paragraph(field.name):
        made = getattr(section(**{field.name: value}), field.name)
        assert type(made) is type(field.default)


# --- TF_CONFIG --------------------------------------------------------------------------------


def tf_config(**changes: Any) -> dict[str, Any]:
    cluster = {"chief": ["host0:2222"], "worker": ["host1:2222", "[::1]:2222"]}
    return {"cluster": cluster, "task": {"type": "worker", "index": 1}, **changes}


def check_tf_config(text: str) -> None:
    os.environ["TF_CONFIG"] = text
    try:
        with refused_in_a_paragraph("TF_CONFIG"):
            own, others = addresses()
            assert own not in others
            assert all(split_address(address) for address in (own, *others))
    finally:
        del os.environ["TF_CONFIG"]


@given(mutated_json(tf_config()))
@example(json.dumps(tf_config(task={"type": "worker", "index": 1e308})))
@example(json.dumps(tf_config(task={"type": "worker", "index": True})))
@example('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": Infinity}}')
@example('{"cluster": {"worker": ["a:\u0662"]}, "task": {"type": "worker", "index": 0}}')
@example('{"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker", "index": 0}}')
@example('{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}')
@example('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}')
@example("[" * 50_000)
def test_any_tf_config_is_one_or_refused(text: str) -> None:
    text = text.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    check_tf_config(text)


@given(st.one_of(st.binary(max_size=50), damaged(json.dumps(tf_config()).encode())))
def test_any_environment_is_a_tf_config_or_refused(content: bytes) -> None:
    check_tf_config(os.fsdecode(content.replace(b"\0", b"")))


def test_the_number_of_a_task_may_be_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    content = tf_config(task={"type": "worker", "index": "0"}, environment="cloud")
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    assert addresses() == ("host1:2222", ["host0:2222", "[::1]:2222"])


# --- A gateway's config -----------------------------------------------------------------------

GATEWAY = (Path(__file__).parents[2] / "configs/gateway.toml").read_text("utf-8")
toml_values = st.one_of(
    st.sampled_from(
        ("nan", "inf", "-inf", "1_000", "1e400", "9" * 5000, "0x7f", "true", "1979-05-27", "''")
    ),
    st.sampled_from(("[1]", "[[]]", "{a = 1}", "[" * 3000, '"\\u0000"', '"~nobody_here/x"', '""')),
    file_texts(9).map(json.dumps),
)


@st.composite
def gateway_texts(draw: st.DrawFn) -> bytes:
    """The example with some keys set to any values."""
    lines = GATEWAY.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        name, equals, _ = lines[at].lstrip("# ").partition(" = ")
        if equals:
            lines[at] = f"{name} = {draw(toml_values)}"
        else:
            lines.insert(at, draw(file_texts(30)))
    text = draw(st.sampled_from(("\n", "\r\n"))).join(lines).encode()
    return draw(damaged(text)) if draw(st.booleans()) else text


@given(gateway_texts())
@example(b"[receiver]\nenabled = true\nport = " + b"9" * 5000)
@example(b"a = " + b"[" * 5000)
@example(b"a" * 70_000 + b" = 1")
@example(b'"' + b"\\n" * 3000 + b'" = 1')
@example(b"[limits]\nstudy_mb = " + b"9" * 400)
@example(b"[limits]\nidle_seconds = " + b"9" * 400)
@example(b"[receiver]\nenabled = true\ncalling_ae_titles = [1]")
@example(b'[poll]\nenabled = true\nurl = "https://[::1"')
@example(b'[poll]\nenabled = true\nurl = "https://a:99999"')
@example(b'[http]\nhost = "\\u0000"')
@example(b'[keep]\nstate_dir = "' + b"a" * 5000 + b'"')
@example(b'["\\uFFFF"]')
def test_any_gateway_config_is_one_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "gateway.toml"
    path.write_bytes(content)
    with refused_in_a_paragraph(path):
        config = load_config(path)
        assert type(config.limits.num_bytes("study_mb")) is int
        config.state_path.exists()


@given(st.one_of(st.binary(max_size=60), st.just(b"a" * 100_000)))
def test_any_token_file_is_one_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with refused_in_a_paragraph(path):
        token = read_token(path)
        assert token.encode("ascii").decode() == token
        assert len(token) >= 16


def test_a_config_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
