"""The soak: its judge finds what grows and nothing else, and a minute of it is flat."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.support.commands import run
from tools.soaking.judging import BOUNDS, judge, judge_all
from tools.soaking.pacing import Action, PacedClient
from tools.soaking.sampling import Sampler, Watched
from tools.soaking.tally import Tally, Unexpected, expect

_ROOT = Path(__file__).parents[2]
# An hour of samples, one each 15 s: minutes from the start.
MINUTES = np.arange(240) / 4
# Each 20 ms it keeps a file open, or 2 MiB in memory, as the first argument says.
_LEAKING = """
import sys, time
kept = []
for _ in range(10_000):
    if sys.argv[1] == "handles":
        kept.append(open("/dev/null"))
    if sys.argv[1] == "rss":
        kept.append(b"x" * 2**21)
    time.sleep(0.02)
"""


def noise(scale: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, len(MINUTES))


def test_what_is_flat_passes_whatever_happened_while_it_warmed_up() -> None:
    warm = 700 + 200 * (1 - np.exp(-MINUTES / 3)) + noise(8)
    assert judge("page", "rss", warm.tolist()).is_flat
    # Single peaks, and a level that falls.
    warm[::20] += 400
    assert judge("page", "rss", warm.tolist()).is_flat
    assert judge("page", "rss", (warm - MINUTES).tolist()).is_flat
    assert judge("page", "handles", np.round(40 + noise(2)).tolist()).is_flat
    assert judge("page", "zombies", [0.0] * 50 + [1.0] * 3 + [0.0] * 47).is_flat


@pytest.mark.parametrize(
    ("value", "level", "per_minute"),
    [
        ("own_rss", 770, 1.2),  # MiB
        ("rss", 900, 3),
        ("handles", 40, 0.3),
        ("threads", 25, 0.3),
        ("processes", 3, 0.1),
        ("zombies", 0, 0.1),
        ("close_wait", 0, 0.1),
        ("state_files", 200, 9),
        ("temporary_files", 10, 0.4),
        ("database_mib", 0.5, 0.05),
    ],
)
def test_a_leak_is_found_and_named(value: str, level: float, per_minute: float) -> None:
    scale = 4 if value.endswith("rss") else 0.0
    samples = level + per_minute * MINUTES + noise(scale)
    verdict = judge("gateway", value, samples.tolist())
    assert not verdict.is_flat
    assert verdict.growth == pytest.approx(20 * per_minute, rel=0.1)
    text = verdict.text(requests=2000)
    assert text.startswith(f"gateway: {value} grew from ") and "in 1000 requests" in text


def test_a_step_that_stays_is_found() -> None:
    samples = np.where(MINUTES > 45, 60.0, 40.0)
    assert not judge("page", "handles", samples.tolist()).is_flat


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="11 samples; 12 are needed"):
        judge("page", "rss", [1.0] * 11)


@pytest.mark.parametrize("leak", ["rss", "handles", "nothing"])
def test_a_planted_leak_of_a_process_is_found(leak: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _LEAKING, leak]) as process:
        time.sleep(0.3)  # Python starts
        with Sampler([Watched("it", process.pid, {"state": tmp_path})], 0.1) as sampler:
            time.sleep(3.0)
        process.kill()
    grown = {verdict.value for verdict in judge_all(sampler.values) if not verdict.is_flat}
    expected = {"rss": {"rss", "pss", "own_rss"}, "handles": {"handles"}, "nothing": set()}
    assert grown == expected[leak]
    assert sampler.csv().splitlines()[0].startswith("seconds,service,rss,pss,")


def test_every_bounded_value_is_sampled(tmp_path: Path) -> None:
    file = tmp_path / "queue.sqlite"
    file.write_bytes(bytes(2**20))
    folders = dict.fromkeys(("state", "temporary", "spool"), tmp_path)
    with Sampler([Watched("it", os.getpid(), folders, {"database": (file,)})], 10) as sampler:
        time.sleep(0.1)
    assert set(sampler.values["it"]) >= set(BOUNDS)
    assert sampler.values["it"]["database_mib"] == [1.0]
    assert sampler.values["it"]["state_files"] == [1.0]


def test_clients_draw_the_same_actions_by_seed_and_go_on_after_failures() -> None:
    def drawn() -> list[tuple[str, int]]:
        done: list[tuple[str, int]] = []

        def act(name: str, random: np.random.Generator) -> str:
            done.append((name, int(random.integers(1000))))
            expect(name != "b", "b is wrong")
            return "done"

        actions = {name: Action(lambda random, name=name: act(name, random)) for name in "ab"}
        tally = Tally()
        client = PacedClient("client", actions, [3, 1], 0.0, tally)
        client.start()
        while len(done) < 20:
            time.sleep(0.001)
        client.end()
        assert client.join(10)
        assert tally.num_failures == sum(name == "b" for name, _ in done)
        assert tally.failures[0] == "b: b is wrong"
        return done[:20]

    assert drawn() == drawn()
    with pytest.raises(Unexpected, match="no answer"):
        expect(0, "no answer")


@pytest.mark.slow
def test_a_minute_is_flat(tmp_path: Path) -> None:
    run("tools.soak", "--minutes=1", f"--out_dir={tmp_path}")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["problems"] == [] and report["unexpected"] == 0
    assert report["arrived"] > 0
    assert all(value["is_flat"] for value in report["values"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_soak_leaves_nothing(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.soak", "--minutes=60", f"--out_dir={tmp_path / 'o'}"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("load for"):
                    break
            time.sleep(3.0)
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert len(children) > 2
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.wait(10)
    assert not any(child.is_running() for child in children)
    assert list(tmp_path.iterdir()) == []
