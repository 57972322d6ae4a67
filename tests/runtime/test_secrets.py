"""No secret, and no patient, is found in process lists, output, results or temporary files."""

import os
import re
import secrets
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.canaries import PATIENT, Watched, files_below, forms, leaks, start
from tests.support.commands import ROOT
from tests.support.dicom_files import make_dicom
from tests.support.processes import wait_until
from tests.support.secret_files import write_secret

# A fault whose text holds all that the function was given.
_FAULT = """
import runpy
import {module} as module
def fail(*given, **named):
    raise ValueError(f"cannot work with {{given!r}} {{named!r}}")
module.{name} = fail
runpy.run_module({command!r}, run_name="__main__")
"""
# Every process reads files by a pydicom that refuses a patient's name, and quotes it.
_REFUSING = """
try:
    from pathlib import Path
    import pydicom
    from ich_tf.dicom import reader
    def parse(*given, **named):
        name = Path({path!r}).read_text()  # a traceback shows this line
        pydicom.DataElement(0x00280030, "DS", name, validation_mode=pydicom.config.RAISE)
    reader.parse = parse
except ImportError:
    pass
"""


@pytest.fixture
def secret() -> str:
    return f"canary/{secrets.token_hex(12)}+x"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "temporary").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(ROOT)}


def refusing(environment: dict[str, str], folder: Path) -> dict[str, str]:
    folder.mkdir()
    (folder / "name").write_text("^".join(PATIENT))
    (folder / "sitecustomize.py").write_text(_REFUSING.format(path=str(folder / "name")))
    return {**environment, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def end(watched: Watched, *, seconds: float = 300) -> int:
    code = watched.process.wait(seconds)
    assert watched.seen, "no process was seen"
    return code


def check(watched: Watched, secret: str, tmp_path: Path, *files: Path) -> None:
    """Fails if a secret is anywhere but in its own files."""
    places = {**watched.places(), **files_below([tmp_path], files)}
    assert leaks(secret, places) == []


def conversion(folder: Path, source: Path, key: Path) -> list[str]:
    return [
        *(f"--dicom_dir={source}", "--labels_csv=", f"--out_dir={folder / 'out'}"),
        *(f"--hash_key_file={key}", "--image_size=16", "--num_workers=2", "--debug"),
    ]


def patients(folder: Path, number: int) -> Path:
    folder.mkdir()
    for i in range(number):
        tags = {
            "SOPInstanceUID": f"1.2.3.{i}",
            "PatientName": "^".join(PATIENT),
            "PatientID": PATIENT[0],
            "ImagePositionPatient": ["-120", "-110.5", str(5 * i)],
        }
        (folder / f"{i}.dcm").write_bytes(make_dicom(tags=tags))
    return folder


def test_a_secret_is_known_in_many_forms() -> None:
    import base64

    for before in (b"", b"Bearer ", b"x"):
        text = base64.b64encode(before + b"canary/0123456789+x" + b" after")
        assert leaks("canary/0123456789+x", {"a": text}), before
    assert b"canary%2F0123456789%2Bx" in forms("canary/0123456789+x")


@pytest.mark.parametrize(
    "how",
    [
        "fault",
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in ("done", "bad input", "SIGTERM", "planted")
        ),
    ],
)
def test_the_key_of_a_conversion_stays_in_its_file(
    how: str, secret: str, environment: dict[str, str], tmp_path: Path
) -> None:
    source = patients(tmp_path / "dicom", 12)
    key = write_secret(tmp_path / "key", secret)
    flags = conversion(tmp_path, source, key)
    command = ["-m", "ich_tf.make_tfrecords"]
    if how == "bad input":
        flags[0] = f"--dicom_dir={tmp_path / 'none'}"
    if how == "fault":
        values = {"module": "ich_tf.conversion.convert", "name": "make_plan"}
        command = ["-c", _FAULT.format(**values, command="ich_tf.make_tfrecords")]
        flags.append("--num_workers=1")
    if how == "planted":
        flags.append(f"--beam_args={secret}")
    watched = start([sys.executable, *command, *flags], tmp_path / "log", environment)
    if how == "SIGTERM":
        assert wait_until(lambda: (tmp_path / "out").exists(), 60)
        watched.process.send_signal(signal.SIGTERM)
    code = end(watched)
    text = (tmp_path / "log").read_text()
    expected = {"fault": 1, "done": 0, "bad input": 1, "SIGTERM": 143, "planted": 2}
    assert code == expected[how], text
    if how == "fault":
        assert "ValueError: cannot work with …" in text and "convert.py" in text
    if how == "planted":  # the check can fail
        with pytest.raises(AssertionError, match="cmdline of"):
            check(watched, secret, tmp_path, key)
        return
    check(watched, secret, tmp_path, key)
    for part in PATIENT:
        places = {**watched.places(), **files_below([tmp_path / "temporary"])}
        if (tmp_path / "out").exists():
            places |= files_below([tmp_path / "out"])
        assert leaks(part, places) == []
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["make_tfrecords", "predict"])
def test_pydicom_quotes_a_patient_and_the_command_does_not(
    command: str, environment: dict[str, str], tmp_path: Path
) -> None:
    source = patients(tmp_path / "dicom", 3)
    flags = [f"--dicom_dir={source}", "--num_workers=2", "--debug"]
    if command == "predict":
        from tests.support.made_up import make_run

        make_run(tmp_path / "run", 64, 1)
        flags += [f"--work_dir={tmp_path / 'run'}", f"--out_csv={tmp_path / 'out/s.csv'}"]
        (tmp_path / "out").mkdir()
    else:
        flags += ["--labels_csv=", f"--out_dir={tmp_path / 'out'}", "--image_size=16"]
    environment = refusing(environment, tmp_path / "site")
    arguments = [sys.executable, "-m", f"ich_tf.{command}", *flags]
    watched = start(arguments, tmp_path / "log", environment)
    assert end(watched) == 1
    text = (tmp_path / "log").read_text()
    assert "An error that nobody foresaw:" in text and "valuerep.py" in text, text
    places = {**watched.places(), **files_below([tmp_path / "out", tmp_path / "temporary"])}
    assert [leaks(part, places) for part in PATIENT] == [[], []]


def ask(url: str, token: str, data: bytes | None = None, kind: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}", **({"Content-Type": kind} if kind else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as got:
            return int(got.status)
    except urllib.error.HTTPError as error:
        return error.code


def form(data: bytes, name: str) -> tuple[bytes, str]:
    head = f'--B\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n--B--\r\n", "multipart/form-data; boundary=B"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["token_file", "flagfile"])
def test_the_token_of_a_page_and_its_patients_stay_secret(
    place: str, secret: str, environment: dict[str, str], tmp_path: Path
) -> None:
    from tests.support.made_up import make_run

    make_run(tmp_path / "run", 64, 1)
    content = f"--token={secret}" if place == "flagfile" else secret
    file = write_secret(tmp_path / "secret", content)
    flags = [f"--work_dir={tmp_path / 'run'}", f"--{place}={file}", "--port=0", "--debug"]
    environment = refusing(environment, tmp_path / "site")
    arguments = [sys.executable, "-m", "ich_tf.serve", *flags]
    watched = start(arguments, tmp_path / "log", environment, umask=0)
    log = tmp_path / "log"
    try:
        assert wait_until(lambda: "research only" in log.read_text(), 180), log.read_text()
        (url,) = re.findall(r"(http://\S+) - research", log.read_text())
        assert ask(f"{url}/api/studies?token={secret}x", f"{secret}x") == 401
        data = (patients(tmp_path / "dicom", 1) / "0.dcm").read_bytes()
        assert ask(f"{url}/api/studies", secret, *form(data, f"{PATIENT[0]}.dcm")) == 202
        assert wait_until(lambda: "nobody foresaw" in log.read_text(), 60), log.read_text()
        assert ask(f"{url}/api/{secret}", secret) == 404
        assert ask(f"{url}/metrics?x={secret}", secret) == 200
    finally:
        watched.process.send_signal(signal.SIGTERM)
    assert end(watched) == 0
    check(watched, secret, tmp_path, file)
    below = [tmp_path / "run/serve", tmp_path / "temporary"]
    places = {**watched.places(), **files_below(below)}
    assert [leaks(part, places) for part in PATIENT] == [[], []]
    for path in (tmp_path / "run/serve").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


_GATEWAY = """
[model]
work_dir = "run"
num_workers = 1
[stow]
enabled = true
[study]
stable_seconds = 1
[keep]
state_dir = "state"
[http]
port = 0
token_file = "http_token"
[webhook]
url = "http://127.0.0.1:9/hook"
token_file = "webhook_token"
"""


@pytest.mark.slow
def test_the_tokens_of_a_gateway_and_its_patients_stay_secret(
    secret: str, environment: dict[str, str], tmp_path: Path
) -> None:
    from tests.support.made_up import make_run

    make_run(tmp_path / "run", 64, 1)
    own = write_secret(tmp_path / "http_token", secret)
    other = write_secret(tmp_path / "webhook_token", f"{secret}webhook")
    config = tmp_path / "gateway.toml"
    config.write_text(_GATEWAY)
    environment = refusing(environment, tmp_path / "site")
    arguments = [sys.executable, "-m", "ich_tf.gateway", f"--config={config}"]
    watched = start([*arguments, "--dry_run", "--debug"], tmp_path / "log", environment, umask=0)
    log = tmp_path / "log"
    try:
        assert wait_until(lambda: "worklist at" in log.read_text(), 180), log.read_text()
        (url,) = re.findall(r"worklist at (\S+?)/? ", log.read_text())
        data = (patients(tmp_path / "dicom", 1) / "0.dcm").read_bytes()
        body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--B--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        assert ask(f"{url}/dicom-web/studies", f"{secret}x", body, kind) == 401
        assert ask(f"{url}/dicom-web/studies", secret, body, kind) == 200
        assert wait_until(lambda: "the webhook failed" in log.read_text(), 90), log.read_text()
    finally:
        watched.process.send_signal(signal.SIGTERM)
    assert end(watched) == 0
    check(watched, secret, tmp_path, own, other)
    # The images lie in the state folder until they are deleted: named by keys, their owner's alone.
    places = {**watched.places(), **files_below([tmp_path / "temporary"])}
    assert [leaks(part, places) for part in PATIENT] == [[], []]
    for path in (tmp_path / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
