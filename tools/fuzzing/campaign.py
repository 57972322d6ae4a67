"""A campaign: inputs are damaged and judged one after another, and the outcomes are counted."""

from __future__ import annotations

import functools
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ich_tf.runtime.sandbox import Sandbox, SandboxDied
from tools.fuzzing.damage import damaged
from tools.fuzzing.minimise import minimised
from tools.fuzzing.record_seeds import PICTURE, SHARD, good_records
from tools.fuzzing.seeds import good_archives, good_files
from tools.fuzzing.stream_damage import damaged_payloads, damaged_stream, is_compressed
from tools.fuzzing.volume_judging import WRONG
from tools.fuzzing.volume_seeds import good_volumes

CPU_SECONDS = 10
MEMORY_MIB = 1024
# On the clock: no measure of the input, but the campaign has to go on.
_SILENT_SECONDS = 300.0
# Of parts of an input that was read wrongly; some seconds.
_TRIALS = 1000


@dataclass
class Report:
    """What came of a campaign.

    Attributes:
      seed: Seed of all damage.
      count: Number of inputs.
      outcomes: Number of slices, masks and rejections, by outcome.
      failures: Number of each input that was read wrongly, and how.
      peak_mib: Most memory that the reading process has held.
      slowest_seconds: Longest time that an input took.
    """

    seed: int
    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    peak_mib: float = 0.0
    slowest_seconds: float = 0.0

    def text(self) -> str:
        """The report as lines for people."""
        lines = [f"{self.count:>8} inputs of seed {self.seed}"]
        lines += [f"{count:>8} {outcome}" for outcome, count in self.outcomes.most_common()]
        lines.append(f"{self.peak_mib:>8.0f} MiB at most, {self.slowest_seconds:.1f} s at most")
        lines += [f"number {number}: {how}" for number, how in self.failures.items()]
        return "\n".join(lines)


def damaged_input(seed: int, number: int) -> tuple[str, bytes]:
    """The input of a number: a good file, archive, volume, mask or shard, damaged.

    Returns:
      Name that tells the format of a volume, mask or shard, empty for files and archives; and the
      bytes.
    """
    rng = np.random.default_rng([seed, number])
    files, archives = list(good_files().values()), list(good_archives().values())
    kind = int(rng.integers(8))
    if kind < 2:
        streams = _streams()
        name, original = streams[rng.integers(len(streams))]
        return name, damaged_stream(original, rng)
    if kind == 2:
        records = list(good_records().values())
        name, original = records[rng.integers(len(records))]
        if name.startswith(SHARD) and rng.integers(3):
            return name, damaged_payloads(original, rng)
        return name, damaged(original, [data for _, data in records], rng)
    if kind < 5:
        volumes = list(good_volumes().values())
        name, original = volumes[rng.integers(len(volumes))]
        return name, damaged(original, [data for _, data in volumes], rng)
    originals = archives if rng.integers(8) == 0 else files
    return "", damaged(originals[rng.integers(len(originals))], files, rng)


@functools.cache
def _streams() -> list[tuple[str, bytes]]:
    """Files whose pixels are decoded in C."""
    files = [("", data) for data in good_files().values() if is_compressed(data)]
    others = [*good_volumes().values(), *good_records().values()]
    return files + [
        (name, data) for name, data in others if name.endswith(".png") or name.startswith(PICTURE)
    ]


def run(seed: int, first: int, count: int | None, seconds: float, keep: Path | None) -> Report:
    """Runs a campaign.

    Args:
      seed: Seed of all damage.
      first: Number of the first input.
      count: Number of inputs; None: until the time is over.
      seconds: Longest time to run.
      keep: Folder for inputs that were read wrongly; None keeps none.
    """
    report, end = Report(seed), time.monotonic() + seconds
    sandbox = Sandbox(
        "tools.fuzzing.judging:make_handler",
        added_bytes=MEMORY_MIB * 2**20,
        cpu_seconds=CPU_SECONDS,
    )
    try:
        while (count is None or report.count < count) and time.monotonic() < end:
            number = first + report.count
            name, data = damaged_input(seed, number)
            begun = time.monotonic()
            outcomes = _judged(sandbox, name.encode() + b"\0" + data, report)
            report.slowest_seconds = max(report.slowest_seconds, time.monotonic() - begun)
            report.count += 1
            report.outcomes.update(outcome.partition(":")[0] for outcome in outcomes)
            wrong = [outcome for outcome in outcomes if outcome.startswith(WRONG)]
            if wrong:
                report.failures[number] = wrong[0]
                if keep is not None:
                    _keep(sandbox, keep / f"{seed}-{number}", name, data, wrong[0])
    finally:
        sandbox.close()
    return report


def _keep(sandbox: Sandbox, stem: Path, name: str, data: bytes, how: str) -> None:
    """Keeps an input, and the smallest part of it that is read wrongly in the same way."""

    def is_wrong(part: bytes) -> bool:
        outcomes = _judged(sandbox, name.encode() + b"\0" + part, Report(0))
        return any(_last_line(outcome) == _last_line(how) for outcome in outcomes)

    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(Path(name).suffix).write_bytes(data)
    small = minimised(data, is_wrong, _TRIALS)
    stem.with_name(f"{stem.name}-small").with_suffix(Path(name).suffix).write_bytes(small)


def _last_line(outcome: str) -> str:
    """The error, of a text with its traceback."""
    return outcome.strip().splitlines()[-1] if outcome.startswith(WRONG) else ""


def _judged(sandbox: Sandbox, message: bytes, report: Report) -> list[str]:
    try:
        sandbox.send(message)
        answer = sandbox.receive(_SILENT_SECONDS)
    except SandboxDied as error:
        hung = error.code == -signal.SIGXCPU
        how = f"took more than {CPU_SECONDS} s of CPU time" if hung else f"died (code {error.code})"
        return [f"{WRONG}: reading {how}"]
    if answer is None:
        return [f"{WRONG}: reading gave no answer for {_SILENT_SECONDS:g} s"]
    judged = json.loads(answer)
    report.peak_mib = max(report.peak_mib, judged["peak_mib"])
    outcomes: list[str] = judged["outcomes"]
    return outcomes
