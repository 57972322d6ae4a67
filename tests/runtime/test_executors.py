"""Local, Dask and Beam: the same bytes; a worker that dies costs nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.errors import ConfigError, InputError
from ich_tf.runtime.executors import dask
from ich_tf.runtime.executors.dask import DaskExecutor
from tests.support.commands import ROOT
from tests.support.conversions import config_for, files_of
from tests.support.marks import slow

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
}


@pytest.fixture(scope="module")
def small(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a local run with one worker writes."""
    folder = tmp_path_factory.mktemp("executors") / "local"
    convert(config_for(phantom_dir, folder))
    return folder


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two workers, one thread each, as its users start it; the address."""
    folder = tmp_path_factory.mktemp("dask")
    about = folder / "scheduler.json"
    cli = [sys.executable, "-m", "distributed.cli"]
    commands = [
        [*cli[:2], "distributed.cli.dask_scheduler", "--port=0", "--no-dashboard"],
        *[[*cli[:2], "distributed.cli.dask_worker", "--nthreads=1", "--no-dashboard"]] * 2,
    ]
    processes = [
        subprocess.Popen(
            [*command, f"--scheduler-file={about}"],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    deadline = time.monotonic() + 60
    while not about.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield json.loads(about.read_text())["address"]
    for process in processes:
        process.kill()  # SIGTERM lets them say farewell to each other for seconds
        process.wait()


@pytest.mark.parametrize("workers", [2, 3])
def test_local_workers(phantom_dir: Path, small: Path, tmp_path: Path, workers: int) -> None:
    convert(config_for(phantom_dir, tmp_path / "out", num_workers=workers))
    assert files_of(tmp_path / "out") == files_of(small)


def test_dask(phantom_dir: Path, small: Path, tmp_path: Path, scheduler: str) -> None:
    changes = {"runner": "dask", "dask_scheduler": scheduler}
    convert(config_for(phantom_dir, tmp_path / "out", **changes))
    assert files_of(tmp_path / "out") == files_of(small)


def test_an_error_in_a_dask_worker_is_told_as_it_is(scheduler: str) -> None:
    with DaskExecutor(scheduler) as executor, pytest.raises(ValueError, match="invalid literal"):
        list(executor.map(int, ["1", "x"]))


def test_a_dask_worker_is_killed(
    phantom_dir: Path, small: Path, tmp_path: Path, scheduler: str
) -> None:
    """SIGKILL to whoever works, once the first shard stands; its nanny starts another."""
    from distributed import Client

    client = Client(scheduler, timeout=30)
    client.wait_for_workers(2, timeout=60)
    victims = list(client.run(os.getpid).values())
    killed = []

    def kill() -> None:
        while not list((tmp_path / "out").glob("*.tfrecord")):
            time.sleep(0.001)
        os.kill(victims[0], signal.SIGKILL)
        killed.append(victims[0])

    killer = threading.Thread(target=kill)
    killer.start()
    changes = {"runner": "dask", "dask_scheduler": scheduler}
    convert(config_for(phantom_dir, tmp_path / "out", **changes))
    killer.join()
    client.close()
    assert killed
    assert files_of(tmp_path / "out") == files_of(small)


@pytest.mark.parametrize(
    "args",
    [
        ("--runner=DirectRunner",),
        slow(
            (
                "--runner=FnApiRunner",
                "--direct_running_mode=multi_processing",
                "--direct_num_workers=2",
            )
        ),
    ],
)
def test_beam(phantom_dir: Path, small: Path, tmp_path: Path, args: tuple[str, ...]) -> None:
    changes = {"runner": "beam", "beam_args": args}
    convert(config_for(phantom_dir, tmp_path / "out", **changes))
    assert files_of(tmp_path / "out") == files_of(small)


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "_CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(InputError, match="no Dask scheduler answers at tcp://127.0.0.1:1"),
        DaskExecutor("tcp://127.0.0.1:1"),
    ):
        raise AssertionError


def test_a_pipeline_that_fails(phantom_dir: Path, tmp_path: Path) -> None:
    changes = {"runner": "beam", "beam_args": ("--runner=NoSuchRunner",)}
    with pytest.raises(InputError, match="Beam's own flags"):
        convert(config_for(phantom_dir, tmp_path / "out", **changes))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"runner": "dask"}, "dask_scheduler"),
        ({"dask_scheduler": "tcp://a:1"}, "dask_scheduler"),
        ({"beam_args": ("--runner=DirectRunner",)}, "beam_args"),
        ({"runner": "spark"}, "runner"),
    ],
)
def test_flags_that_do_not_fit(changes: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        ConversionConfig(**changes)


@pytest.mark.parametrize("package", ["distributed", "apache_beam"])
def test_a_missing_package_is_named(
    package: str, phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python does for what it cannot import
    changes = {"runner": "beam"}
    if package == "distributed":
        changes = {"runner": "dask", "dask_scheduler": "tcp://127.0.0.1:1"}
    with pytest.raises(InputError, match=r"pip install 'ich_tf\["):
        convert(config_for(phantom_dir, tmp_path / "out", **changes))
