"""Disk, database, other processes: one clear line each, and no study is lost."""

import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from ich_tf.errors import InputError
from ich_tf.gateway import database, folders, inbox, retention
from ich_tf.gateway.config import (
    GatewayConfig,
    HttpSection,
    KeepSection,
    LimitsSection,
    ModelSection,
    StowSection,
)
from ich_tf.gateway.loop import MachineError
from ich_tf.gateway.ports import Refused
from ich_tf.gateway.prediction import StudyPrediction
from ich_tf.gateway.run import run
from tests.support.gateway import Bench, fake_predict, result_uid
from tests.support.secret_files import write_secret


def fail_with(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_full_disk_refuses_images_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "sync_file", fail_with(errno.ENOSPC))
        with pytest.raises(Refused, match="No space left on device") as refused:
            bench.send()
    assert refused.value.reason == "DISK_FULL" and refused.value.may_be_sent_again
    assert bench.states() == [] and bench.files() == []
    bench.send()
    bench.run()
    assert bench.states() == ["done"]


def test_a_file_whose_row_cannot_be_written_is_in_no_other_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    connection = bench.gateway._database._connection

    class Full:
        def execute(self, sql: str, *values: object) -> object:
            if sql == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return connection.execute(sql, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(connection, name)

    with monkeypatch.context() as patch:
        patch.setattr(bench.gateway._database, "_connection", Full())
        with pytest.raises(Refused, match="No space left on device"):
            bench.send(0, study="1.2.1", patient="A")
    assert bench.files() == []
    bench.send(5, study="1.2.2", patient="B")
    bench.run()
    assert bench.archive.studies() == {"1.2.2": [result_uid(["1.2.2.5"])]}


def test_images_that_are_gone_fail_their_study(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send(0)
    bench.send(1)
    next((tmp_path / "state/studies/1/images").iterdir()).unlink()
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert study.reason == "PREDICTION" and study.text.startswith("1 of 2 images are gone")


def test_an_end_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.send()
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise database.StateError("locked")

        patch.setattr(bench.gateway.queue, "end_prediction", fail)
        with pytest.raises(database.StateError):
            bench.run()
    assert bench.states() == ["predicting"]
    bench.run()
    assert bench.states() == ["done"]


def test_a_full_disk_lets_a_study_wait(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    errors = [full, InputError("x: Disk quota exceeded")]

    def predict(images: Path, work: Path, results: Path):
        if errors:
            raise errors.pop()
        return fake_predict(images, work, results)

    bench = Bench(tmp_path, predict)
    bench.send()
    for problem in ("Disk quota exceeded", "No space left on device"):
        with pytest.raises(MachineError, match=f"study 1 waits: {problem}"):
            bench.run()
        assert bench.states() == ["waiting"]
    bench.run()
    assert bench.states() == ["done"]


def test_a_locked_database_refuses_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    bench = Bench(tmp_path)
    other = sqlite3.connect(tmp_path / "state/queue.sqlite")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Refused, match="locked by another program") as refused:
        bench.send()
    assert refused.value.reason == "STATE" and refused.value.may_be_sent_again
    other.close()
    bench.send()
    assert bench.states() == ["receiving"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"x" * 4096), "is damaged"),
        (lambda path: _set_version(path, 7), "is of version 7"),
        (lambda path: path.with_name("secret").write_bytes(b"short"), "holds 5 bytes"),
        (lambda path: path.with_name("secret").unlink(), "holds 0 bytes"),
        (lambda path: path.unlink(), "queue.sqlite beside it is gone"),
    ],
)
def test_a_damaged_state_folder_is_one_line(tmp_path: Path, damage, message: str) -> None:
    bench = Bench(tmp_path)
    bench.send()
    bench.gateway.close()
    damage(tmp_path / "state/queue.sqlite")
    with pytest.raises(InputError, match=message):
        bench.open()
    assert len(bench.files()) == 1, "images were deleted"


def _set_version(path: Path, version: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def test_a_state_folder_has_one_gateway(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(InputError, match="another run writes there"):
        Bench(tmp_path)
    bench.gateway.close()


def test_a_missing_model_and_a_taken_port_are_one_line(tmp_path: Path) -> None:
    def config(**http: object) -> GatewayConfig:
        return GatewayConfig(
            model=ModelSection(work_dir=str(tmp_path / "none")),
            stow=StowSection(enabled=True),
            keep=KeepSection(state_dir=str(tmp_path / "state")),
            http=HttpSection(**http),  # type: ignore[arg-type]
        )

    with pytest.raises(InputError, match=f"{tmp_path}/none"):
        run(config(port=0))
    with pytest.raises(InputError, match=r"http.host and http.port .* cannot be listened on"):
        run(config(host="192.0.2.1", allow_plain=True, token_file=str(_token(tmp_path))))
    assert not (tmp_path / "state").exists()


def _token(folder: Path) -> Path:
    return write_secret(folder / "token", "0123456789abcdef")


def test_an_image_that_comes_while_its_study_is_deleted_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(images: Path, work: Path, results: Path) -> StudyPrediction:
        raise InputError("no")

    bench = Bench(tmp_path, predict)
    bench.send()
    bench.run()
    senders = []

    def remove_slowly(path: Path) -> None:
        senders.append(threading.Thread(target=bench.send))
        senders[0].start()
        senders[0].join(0.3)
        folders.remove(path)

    monkeypatch.setattr(retention, "remove", remove_slowly)
    bench.clock.now += 25 * 3600
    bench.step("keeper")
    senders[0].join()
    assert bench.states() == ["receiving"] and len(bench.files()) == 1


def test_a_study_that_is_too_large_leaves_nothing_of_a_prediction_under_way(tmp_path: Path) -> None:
    def predict(images: Path, work: Path, results: Path):
        with pytest.raises(Refused):
            bench.send(1)
        results.mkdir(parents=True)
        (results / "sr.dcm").write_bytes(b"of a patient")
        raise InputError("its images are gone.")

    bench = Bench(tmp_path, predict, limits=LimitsSection(study_instances=1))
    bench.send()
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason) == ("refused", "TOO_LARGE") and bench.files() == []


def test_a_sender_that_repeats_itself_does_not_fill_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    monkeypatch.setattr(inbox, "sync_file", fail_with(errno.ENOSPC))
    for _ in range(100):
        with pytest.raises(Refused):
            bench.send()
    assert 0 < len(caplog.records) <= 31
