"""A full disk, and failures nobody foresaw: the server says so, and goes on."""

import errno
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ich_tf.dicom.reader import read_slice
from ich_tf.serving import study_folders
from ich_tf.serving.decoding import DecodedFile, Decoders
from ich_tf.serving.errors import DISK_FULL
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.pipeline import Pipeline
from ich_tf.serving.studies import Studies
from tests.support.made_up import make_run
from tests.support.serving import Upload, files_of, post, running, served


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("model") / "w", 32, 1)


@pytest.fixture(scope="module")
def uploads(phantom_dir: Path) -> list[Upload]:
    files = files_of(phantom_dir / "stage_2_test")
    study = read_slice(files[0][1]).header.study_id
    return [file for file in files if read_slice(file[1]).header.study_id == study][:3]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("full") / "state"


@pytest.fixture(scope="module")
def client(model: Path, state: Path) -> Iterator[httpx.Client]:
    with running(model, state) as started:
        yield started


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_disk_that_fills_is_told_and_the_next_study_is_read(
    client: httpx.Client, state: Path, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fills while an upload is written, taken into the queue, and kept."""
    with monkeypatch.context() as patch:
        patch.setattr(study_folders, "write_text", full)
        assert error_of(post(client, uploads)) == (507, "DISK_FULL")
        assert not any((state / "uploads").iterdir())
    commit = Studies.commit
    with monkeypatch.context() as patch:

        def fill_after(self: Studies, study: Any) -> None:
            commit(self, study)
            patch.setattr(study_folders, "write_text", full)

        patch.setattr(Studies, "commit", fill_after)
        # Memory comes first: the study is answered though it cannot be kept.
        study = served(client, uploads)
        assert study["state"] == "done" and study["series"]
    with monkeypatch.context() as patch:
        decode = Decoders.decode

        def fill_after_one(self: Decoders, *given: Any) -> Iterator[DecodedFile]:
            yield next(decode(self, *given))
            yield DecodedFile(1, reason=DISK_FULL)

        # Half a study is no study.
        patch.setattr(Decoders, "decode", fill_after_one)
        study = served(client, uploads)
        assert (study["state"], study["error"]["code"]) == ("failed", "DISK_FULL")
        kept = [path.name for path in (state / "studies" / study["study_id"]).iterdir()]
        assert kept == ["study.json"]
    with monkeypatch.context() as patch:
        patch.setattr("ich_tf.serving.analysis.predict_study", full)
        study = served(client, uploads)
        assert (study["state"], study["error"]["code"]) == ("failed", "DISK_FULL")
    assert served(client, uploads)["state"] == "done"
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_oldest_studies_make_room(
    model: Path, tmp_path: Path, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10_000 * MIB
    monkeypatch.setattr(Studies, "free_bytes", lambda self: free - self.kept_bytes())
    with running(model, tmp_path / "state", Limits(min_free_mb=1)) as client:
        keys = [served(client, uploads)["study_id"] for _ in range(3)]
        size = 3 * 64 * 64 * 4

        def kept() -> list[bool]:
            return [client.get(f"/api/studies/{key}").status_code == 200 for key in keys]

        assert kept() == [True] * 3
        # Room for the upload itself is found by deleting one or two, but not the last.
        free = MIB + 3 * sum(len(data) for _, data in uploads) + 2000 + 2 * size
        assert post(client, uploads).status_code == 202
        assert not kept()[0] and kept()[2]
        # What other programs fill is no reason to delete any.
        free = MIB
        assert client.get("/readyz").status_code == 200
        before = kept()
        assert error_of(post(client, uploads)) == (507, "DISK_FULL")
        assert kept() == before
        free = 0
        assert error_of(client.get("/readyz")) == (503, "NOT_READY")
        assert client.get("/healthz").status_code == 200


def test_no_failure_ends_a_thread(
    client: httpx.Client,
    uploads: list[Upload],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr("ich_tf.serving.supervised_thread._PAUSE_SECONDS", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "_read", _failing(MemoryError))
        patch.setattr(Pipeline, "_give_up", _failing(KeyError))
        assert post(client, uploads).status_code == 202
        end = time.monotonic() + 30
        while "the thread reading failed: KeyError" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert served(client, uploads)["state"] == "done"
    assert client.get("/healthz").json() == {"status": "ok"}
    text = client.get("/metrics").text
    assert re.search(r'ich_tf_thread_running\{thread="model"\} 1.0', text)
    # A thread that does not run is told to whoever restarts the server.
    monkeypatch.setattr(Pipeline, "threads", {"reading": False, "model": True})
    assert error_of(client.get("/healthz")) == (503, "DEAD_THREAD")
    assert error_of(client.get("/readyz")) == (503, "NOT_READY")


def _failing(kind: type[Exception]) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise kind

    return fail
