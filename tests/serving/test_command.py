"""python -m ich_tf.serve: starts, stops, is killed, and stands what strangers send."""

import signal
import socket
import time
from pathlib import Path

import pytest

from ich_tf.dicom.reader import read_headers
from tests.support.commands import Command
from tests.support.hostile_archives import HOSTILE
from tests.support.made_up import make_run
from tests.support.secret_files import write_secret
from tests.support.serving import files_of, post, served, wait
from tools.benchmark.service import Service, started

GIB = 2**30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("model") / "w", 32, 1)


@pytest.mark.slow
def test_what_cannot_be_served(model: Path, tmp_path: Path, run_command: Command) -> None:
    done = run_command("ich_tf.serve", f"--work_dir={model}", "--host=0.0.0.0", code=2)
    assert "which other machines may reach" in done.stderr and "--token" in done.stderr
    done = run_command("ich_tf.serve", f"--work_dir={model}", "--token=short", code=2)
    assert "on the command line" in done.stderr and "short" not in done.stderr
    flags = write_secret(tmp_path / "page.flags", "--token=short")
    done = run_command("ich_tf.serve", f"--work_dir={model}", f"--flagfile={flags}", code=2)
    assert "token has 5 characters" in done.stderr
    done = run_command("ich_tf.serve", f"--work_dir={tmp_path}", code=1)
    assert str(tmp_path) in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_command("ich_tf.serve", f"--work_dir={model}", f"--port={port}", code=1)
    assert f"127.0.0.1:{port}: cannot be listened on" in done.stderr


@pytest.mark.slow
def test_a_restart_loses_only_what_was_not_done(
    model: Path, tmp_path: Path, phantom_dir: Path, run_command: Command
) -> None:
    state = tmp_path / "state"
    uploads = files_of(phantom_dir / "stage_2_test")
    with started(model, state, "--batch_size=1") as service:
        client = service.client
        kept = served(client, uploads[:9])
        # Another server would delete what this one works on.
        done = run_command(
            "ich_tf.serve", f"--work_dir={model}", f"--state_dir={state}", "--port=0", code=1
        )
        assert "another run writes there" in done.stderr
        waiting = [post(client, uploads * 3).json()["study_id"] for _ in range(2)]
        assert client.get(f"/api/studies/{waiting[1]}").json()["state"] != "done"
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
    with started(model, state) as service:
        client = service.client
        study = client.get(f"/api/studies/{kept['study_id']}").json()
        assert {**study, "expires_in_seconds": 0} == {**kept, "expires_in_seconds": 0}
        route = f"/api/studies/{kept['study_id']}/series/0/slices/0"
        assert client.get(f"{route}/heatmaps/any").status_code == 200
        lost = client.get(f"/api/studies/{waiting[1]}").json()
        assert (lost["state"], lost["error"]["code"]) == ("failed", "INTERRUPTED")
        assert list((state / "uploads").iterdir()) == []
        assert served(client, uploads[:9])["series"] == kept["series"]
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
    assert "Traceback" not in service.log.read_text()


def refusal(service: Service, data: bytes) -> str:
    """What a client is told of a file that it sends alone; empty if it is a slice."""
    client, begun = service.client, time.monotonic()
    answer = post(client, [("file", data)])
    if answer.status_code == 202:
        study = wait(client, answer.json()["study_id"])
        error = study["error"]
    else:
        assert 400 <= answer.status_code < 500, answer.text
        error = answer.json()["error"]
    assert time.monotonic() - begun < 10
    if error is None:
        return ""
    assert error["code"] and error["message"].endswith(".")
    return f"{error['code']}: {error['message']}"


@pytest.mark.slow
def test_hostile_files_are_refused_and_the_next_study_is_served(
    model: Path, tmp_path: Path, phantom_dir: Path, real_dicom: Path
) -> None:
    """Each broken file and each archive in turn; the memory of all its processes together."""
    good = files_of(phantom_dir / "stage_2_test")
    bad = {path.name: path.read_bytes() for path in (real_dicom.parent / "bad_dicom").glob("*.dcm")}
    assert bad, "no files beside the real ones"
    bad |= {f"archive: {name}": make() for name, (make, _) in HOSTILE.items()}
    with started(model, tmp_path / "state") as service:
        expected = served(service.client, good)["series"]
        for name, data in bad.items():
            text = refusal(service, data)
            print(f"{name}: {text or 'read'}")
            # MONOCHROME1 says how to show values that mean the same.
            assert bool(text) != (name == "mono1.dcm"), name
        assert served(service.client, good)["series"] == expected
        assert service.peak < 2 * GIB
        print(f"{service.peak / GIB:.2f} GiB at most")
    assert list((tmp_path / "state/uploads").iterdir()) == []
    assert "Traceback" not in service.log.read_text()


@pytest.mark.slow
def test_real_patients_are_named_nowhere(model: Path, tmp_path: Path, real_dicom: Path) -> None:
    files = [file for file in files_of(real_dicom / "ge_head") if file[0].endswith(".dcm")]
    state = tmp_path / "state"
    with started(model, state) as service:
        study = served(service.client, files)
        route = f"/api/studies/{study['study_id']}"
        answers = [
            service.client.get(f"{route}{path}").content
            for path in ("", "/results.json", "/results.csv", "/series/0/report.dcm")
        ]
    with open(real_dicom / "ge_head" / files[0][0], "rb") as file:
        (header,) = read_headers(file)
    secrets = {header.patient_id, header.study_id, header.series_id, header.image_id, files[0][0]}
    assert all(len(secret) > 3 for secret in secrets)
    kept = [service.log, *(path for path in state.rglob("*") if path.is_file())]
    for secret in secrets:
        assert not any(secret.encode() in answer for answer in answers)
        for path in kept:
            assert secret not in str(path) and secret.encode() not in path.read_bytes()
