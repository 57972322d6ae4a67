"""A clock that is set back, and a config that is changed, between the steps of a study."""

import dataclasses
from pathlib import Path

from ich_tf.gateway.config import KeepSection, StudySection
from ich_tf.gateway.ports import SendFailed
from tests.support.gateway import Bench

_DAY = 86400.0


def test_a_clock_that_is_set_back_delays_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep=KeepSection(state_dir=str(tmp_path / "state"), images_hours=1))
    bench.archive.failures = [SendFailed("TIMEOUT", "no answer.", is_final=False)]
    bench.send(study="1.2.1")
    bench.run()  # it fails, and is to be sent again in 10 s
    bench.clock.now -= _DAY
    bench.run(0)
    bench.run(900)
    assert bench.states() == ["done"] and bench.files()
    bench.clock.now -= _DAY
    bench.run(0)
    bench.run(3600)
    assert bench.files() == []


def test_names_that_are_no_longer_asked_for_are_deleted_at_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path, study=StudySection(identify_by="accession"))
    bench.send()
    bench.run()
    bench.config = dataclasses.replace(bench.config, study=StudySection())
    bench.reopen()
    (study,) = bench.gateway.queue.studies()
    assert (study.accession, study.study_uid) == ("", "")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "state").glob("queue.sqlite*"))
    assert b"ACC-77" not in stored and b"1.2.9.4" not in stored
