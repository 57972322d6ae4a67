"""The way of a study through a gateway: in, stable, predicted, sent, forgotten."""

import logging
from pathlib import Path

import pytest

from ich_tf.errors import InputError, NothingToPredictError
from ich_tf.gateway.config import KeepSection, LimitsSection, StudySection
from ich_tf.gateway.ports import Refused, SendFailed
from tests.support.gateway import SECRETS, SR, Bench, fake_predict, result_uid


def test_a_study_is_predicted_once_stable_sent_and_deleted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(3):
        bench.send(number)
        bench.send(number)  # an archive that repeats itself
    bench.run(59.0)
    assert bench.states() == ["receiving"] and len(bench.files()) == 3
    bench.send(3)
    bench.run(59.0)
    assert bench.states() == ["receiving"]
    bench.run(1.0)
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.images, study.sent, study.urgency) == ("done", 4, 1, 0.04)
    expected = result_uid([f"1.2.9.4.{number}" for number in range(4)])
    assert bench.archive.studies() == {"1.2.9.4": [expected]}
    assert bench.files() == []


def test_results_that_come_back_are_dropped_and_other_objects_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send()
    bench.run()
    ((uid,),) = bench.archive.studies().values()
    bench.send(SOPClassUID=SR, SOPInstanceUID=uid)
    for source in ("dimse", "poll"):
        with pytest.raises(Refused) as refused:
            bench.send(source=source, SOPClassUID=SR, SOPInstanceUID="1.2.77")
        assert refused.value.reason == "NOT_CT" and not refused.value.may_be_sent_again
    bench.run()
    assert bench.states() == ["done"] and len(bench.archive.order) == 1
    inbox = bench.gateway.inbox
    assert inbox.missing("1.2.9.4", "", [uid, "1.2.77", "1.2.9.4.0", "1.2.9.4.5"]) == ["1.2.9.4.5"]


def test_a_sender_keeps_no_image_from_being_fetched(tmp_path: Path) -> None:
    """CWE-345: an object of another kind under the UIDs of an image, or another's large study."""
    bench = Bench(tmp_path, limits=LimitsSection(study_instances=2))
    with pytest.raises(Refused, match="no CT image"):
        bench.send(0, source="dimse", SOPClassUID=SR)
    inbox = bench.gateway.inbox
    assert inbox.missing("1.2.9.4", "A", ["1.2.9.4.0"]) == ["1.2.9.4.0"]
    for number in range(2):
        bench.send(number, patient="B")
    with pytest.raises(Refused):
        bench.send(2, patient="B")
    assert inbox.missing("1.2.9.4", "A", ["1.2.9.4.7"]) == ["1.2.9.4.7"]
    assert inbox.missing("1.2.9.4", "B", ["1.2.9.4.7"]) == []
    assert inbox.missing("1.2.9.4", "", ["1.2.9.4.7"]) == []


def test_a_study_is_a_uid_and_a_patient(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send(0, patient="A")
    bench.send(1, patient="B")
    bench.run()
    assert bench.states() == ["done", "done"]


def test_the_urgent_are_sent_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for study, images in (("1.2.1", 1), ("1.2.2", 3), ("1.2.3", 2)):
        for number in range(images):
            bench.send(number, study=study)
    bench.clock.now += 61
    bench.step("keeper")
    for _ in range(3):
        bench.step("worker")
    bench.run()
    assert bench.archive.order == ["1.2.2", "1.2.3", "1.2.1"]


@pytest.mark.parametrize(("late", "sent", "images"), [("list", 1, 1), ("again", 2, 2)])
def test_late_images(tmp_path: Path, late: str, sent: int, images: int) -> None:
    keep = KeepSection(state_dir=str(tmp_path / "state"), images_hours=1)
    bench = Bench(tmp_path, study=StudySection(late=late), keep=keep)
    bench.send(0)
    bench.run()
    bench.send(1)
    (study,) = bench.gateway.queue.studies()
    assert (study.urgency is None) == (late == "again")
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.images, study.late) == ("done", images, 2 - images)
    assert len(bench.archive.studies()["1.2.9.4"]) == sent
    bench.run(3600)
    assert bench.files() == []
    bench.send(2)  # its images are gone
    bench.run()
    assert bench.states() == ["done"] and len(bench.archive.order) == sent


def test_images_that_come_during_prediction_begin_it_again(tmp_path: Path) -> None:
    def predict(images: Path, work: Path, results: Path):
        prediction = fake_predict(images, work, results)
        if len(list(images.iterdir())) == 1:
            bench.send(1)
        return prediction

    bench = Bench(tmp_path, predict)
    bench.send(0)
    bench.run()
    assert bench.states() == ["receiving"] and not bench.archive.order
    bench.run()
    assert bench.archive.studies() == {"1.2.9.4": [result_uid(["1.2.9.4.0", "1.2.9.4.1"])]}


def test_a_study_without_a_series_is_refused_until_one_comes(tmp_path: Path) -> None:
    def predict(images: Path, work: Path, results: Path):
        if len(list(images.iterdir())) == 1:
            raise NothingToPredictError("/path/SECRET: nothing", {"LOCALIZER": 1})
        return fake_predict(images, work, results)

    bench = Bench(tmp_path, predict)
    bench.send(0)
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason) == ("refused", "NO_SERIES")
    assert study.text == "no series of 1 images can be read: 1 LOCALIZER."
    bench.send(1)
    bench.run()
    assert bench.states() == ["done"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("studies/1: damaged"), "PREDICTION"),
        (MemoryError(), "OUT_OF_MEMORY"),
        (FileNotFoundError(2, "No such file or directory", "Secret^Name"), "INTERNAL"),
        (KeyError("Secret^Name"), "INTERNAL"),
    ],
)
def test_a_failed_prediction_keeps_its_images_for_a_retry(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    errors = [error]

    def predict(images: Path, work: Path, results: Path):
        if errors:
            raise errors.pop()
        return fake_predict(images, work, results)

    bench = Bench(tmp_path, predict)
    bench.send()
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason) == ("failed", reason) and "Secret" not in study.text
    bench.send(1)  # as refused ones, a failed study begins again with more images
    assert bench.states() == ["receiving"]
    errors.append(error)
    bench.run()
    assert bench.gateway.queue.retry(1)
    bench.run()
    assert bench.states() == ["done"]
    assert not bench.gateway.queue.retry(1)


def test_images_of_failed_studies_are_deleted_on_time_and_rows_too(tmp_path: Path) -> None:
    def predict(images: Path, work: Path, results: Path):
        raise InputError("no")

    bench = Bench(tmp_path, predict)
    bench.send()
    bench.run()
    bench.run(23 * 3600)
    assert len(bench.files()) == 1
    bench.run(3600)
    assert bench.files() == [] and not bench.gateway.queue.retry(1)
    bench.send()  # what is gone can be sent again
    assert bench.states() == ["receiving"] and len(bench.files()) == 1
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.images) == ("failed", 1)
    bench.run(24 * 3600)
    bench.run(30 * 86400)
    assert bench.states() == []
    assert bench.gateway.inbox.missing("1.2.9.4", "", ["1.2.9.4.0"]) == ["1.2.9.4.0"]


def test_sending_is_retried_with_backoff_then_listed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    down = SendFailed("SERVER_ERROR", "the archive answers 500.", is_final=False)
    bench.archive.failures = [down, down]
    bench.send()
    bench.run()
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason, study.attempts) == ("sending", "SERVER_ERROR", 1)
    bench.run(9.9)
    assert bench.gateway.queue.studies()[0].attempts == 1
    bench.run(0.2)
    assert bench.gateway.queue.studies()[0].attempts == 2
    bench.reopen()  # the attempts are remembered
    bench.run(19.0)
    assert bench.states() == ["sending"]
    bench.run(1.1)
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason, study.text) == ("done", "", "")


@pytest.mark.parametrize("is_final", [True, False])
def test_what_cannot_be_sent_is_failed_in_the_end(tmp_path: Path, is_final: bool) -> None:
    bench = Bench(tmp_path)
    bench.archive.failures = [SendFailed("DENIED", "no.", is_final=is_final)] * 9
    bench.send()
    bench.run()
    if not is_final:
        assert bench.states() == ["sending"]
        bench.run(3600)
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason) == ("failed", "NOT_SENT") and "DENIED" in study.text
    assert len(bench.files()) == 2


def test_results_that_are_gone_are_made_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.archive.failures = [SendFailed("TIMEOUT", "no answer.", is_final=False)]
    bench.send()
    bench.run()
    next((tmp_path / "state/studies/1/results").iterdir()).unlink()
    bench.run(10)
    bench.run(0)
    assert bench.states() == ["done"] and len(bench.archive.order) == 1


def test_a_dry_run_says_what_it_would_send(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(tmp_path)
    bench.gateway.close()
    bench.dry_run = True
    bench.open()
    bench.send()
    bench.run()
    assert "study 1: dry run: 1 SR would be sent to a folder." in caplog.text
    assert bench.archive.order == [] and bench.gateway.queue.studies()[0].sent == 0


def test_a_study_beyond_its_limits_is_refused_and_its_images_are_deleted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=LimitsSection(study_instances=2, studies=2))
    bench.send(0)
    bench.send(1)
    for number in (2, 3):
        with pytest.raises(Refused) as refused:
            bench.send(number)
        assert refused.value.reason == "TOO_MANY_INSTANCES"
    (study,) = bench.gateway.queue.studies()
    assert (study.state, study.reason, study.has_files) == ("refused", "TOO_LARGE", False)
    assert bench.files() == []
    # A poller must not fetch ten gigabytes again and again.
    assert bench.gateway.inbox.missing("1.2.9.4", "", ["1.2.9.4.9"]) == []
    bench.send(0, study="1.2.5")
    bench.send(0, study="1.2.6")
    with pytest.raises(Refused) as refused:
        bench.send(0, study="1.2.7")
    assert refused.value.reason == "QUEUE_FULL" and refused.value.may_be_sent_again


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"no DICOM" * 100, "NOT_DICOM"), (b"", "NOT_DICOM"), (None, "NO_IDS")],
)
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes | None, reason: str) -> None:
    bench = Bench(tmp_path)
    path = bench.gateway.inbox.spool_dir / "x"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(Refused) as refused:
        if data is None:
            bench.send(study="")
        else:
            bench.gateway.inbox.accept(path, "stow")
    assert refused.value.reason == reason
    assert bench.files() == [] and bench.states() == []


def test_no_identity_is_in_names_logs_metrics_and_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench = Bench(tmp_path)
    for number in range(3):
        bench.send(number)
    stored = (tmp_path / "state").rglob("*")
    names = " ".join(map(str, stored))
    bench.run()
    database = b"".join(path.read_bytes() for path in (tmp_path / "state").glob("queue.sqlite*"))
    metrics = bench.gateway.monitor.text().decode()
    for secret in SECRETS:
        assert secret not in names + caplog.text + metrics
        assert secret.encode() not in database
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "state").glob("[!.]*")}
    assert modes <= {0, 0o044}  # the folder itself lets only its owner in
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_the_names_of_an_archive_are_stored_only_if_asked_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, study=StudySection(identify_by="accession"))
    bench.send()
    (study,) = bench.gateway.queue.studies()
    assert (study.accession, study.study_uid) == ("ACC-77", "1.2.9.4")

    def stored() -> bytes:
        paths = (tmp_path / "state").glob("queue.sqlite*")
        return b"".join(path.read_bytes() for path in paths)

    bench.run()
    assert b"ACC-77" in stored()
    bench.run(31 * 86400)
    assert bench.states() == [] and b"ACC-77" not in stored()
