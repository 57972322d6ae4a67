"""A gateway that is killed at any point goes on: each study exactly once, nothing lost."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ich_tf.gateway import folders, inbox, retention, worker
from tests.support.commands import ROOT
from tests.support.gateway import Bench, result_uid, write_image
from tests.support.marks import slow


class Killed(BaseException):
    """The process is gone."""


class Deaths:
    """Counts points at which a process may be killed, and dies at one of them."""

    def __init__(self, at: int) -> None:
        self.left = at

    def point(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function before and after which the process may be killed."""

        def run(*arguments: Any, **options: Any) -> Any:
            self.point()
            result = function(*arguments, **options)
            self.point()
            return result

        return run


class DyingConnection:
    """A connection at whose commits the process may be killed."""

    def __init__(self, connection: Any, deaths: Deaths) -> None:
        self._connection, self._deaths = connection, deaths

    def execute(self, sql: str, *values: Any) -> Any:
        if sql != "COMMIT":
            return self._connection.execute(sql, *values)
        return self._deaths.around(self._connection.execute)(sql)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def die_at(bench: Bench, at: int, patch: pytest.MonkeyPatch) -> Deaths:
    deaths = Deaths(at)
    for module in (folders, inbox, worker):
        patch.setattr(module, "sync_file", deaths.around(folders.sync_file))
    for module in (inbox, worker, retention):
        patch.setattr(module, "remove", deaths.around(folders.remove))
    patch.setattr(Path, "rename", deaths.around(Path.rename))
    patch.setattr(bench.archive, "send", deaths.around(bench.archive.send))
    database = bench.gateway._database
    database._connection = DyingConnection(database._connection, deaths)  # type: ignore[assignment]
    return deaths


@pytest.mark.parametrize("step", [9, slow(1)])
def test_killed_at_every_point_where_something_is_written(tmp_path: Path, step: int) -> None:
    for at in itertools.count(1, step):
        folder = tmp_path / str(at)
        folder.mkdir()
        bench = Bench(folder)
        acknowledged = set()
        with pytest.MonkeyPatch.context() as patch:
            deaths = die_at(bench, at, patch)
            try:
                for number in range(2):
                    bench.send(number)
                    acknowledged.add(number)
                bench.run()
                is_dead = False
            except Killed:
                is_dead = True
            deaths.left = 0
        if is_dead:
            bench.reopen()
            # Its sender sends again what it has no answer to.
            for number in {0, 1} - acknowledged:
                bench.send(number)
            bench.run()
        assert bench.states() == ["done"], at
        assert bench.files() == [], at
        assert bench.archive.studies() == {"1.2.9.4": [result_uid(["1.2.9.4.0", "1.2.9.4.1"])]}, at
        bench.gateway.close()
        if not is_dead:
            break
    assert at > 30


def test_a_file_without_a_row_was_not_acknowledged_and_is_deleted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send(0)
    images = tmp_path / "state/studies/1/images"
    (images / "other.dcm").write_bytes(b"x")
    (tmp_path / "state/studies/7/images").mkdir(parents=True)
    (tmp_path / "state/spool/part").write_bytes(b"x")
    bench.reopen()
    assert not (tmp_path / "state/studies/7").exists() and len(bench.files()) == 2
    bench.run()
    assert bench.archive.studies() == {"1.2.9.4": [result_uid(["1.2.9.4.0"])]}


def test_a_study_that_ends_the_gateway_again_and_again_is_failed_and_others_go_on(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.send(0, study="1.2.1")
    bench.send(0, study="1.2.2")
    bench.clock.now += 61
    bench.step("keeper")
    taken = []
    for _ in range(20):
        study = bench.gateway.queue.begin_prediction()
        if study is None:
            break
        taken.append(study.number)
        bench.reopen()
    assert taken[:4] == [1, 2, 1, 2]
    bench.run()
    assert [study.reason for study in bench.gateway.queue.studies()] == ["CRASHED", "CRASHED"]


@pytest.mark.slow
def test_a_real_process_killed_at_20_random_moments(tmp_path: Path) -> None:
    studies = [f"1.2.{number}" for number in range(1, 9)]
    pending = tmp_path / "pending"
    pending.mkdir()
    for study, number in itertools.product(studies, range(5)):
        write_image(pending / f"{study}-{number}.dcm", number, study=study)
    rng = random.Random(5)
    for _ in range(20):
        with _process(tmp_path) as process:
            time.sleep(rng.uniform(0.2, 1.2))
            os.kill(process.pid, signal.SIGKILL)
    with _process(tmp_path) as process:
        assert process.wait(120) == 0
    expected = {
        f"{study}@{result_uid([f'{study}.{number}' for number in range(5)])}" for study in studies
    }
    assert {path.name for path in (tmp_path / "archive").iterdir()} == expected
    assert not list((tmp_path / "state/studies").iterdir())


def _process(folder: Path) -> Any:
    command = [sys.executable, "-m", "tests.support.gateway_process", str(folder)]
    return subprocess.Popen(command, cwd=ROOT)
