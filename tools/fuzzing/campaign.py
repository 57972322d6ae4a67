"""A campaign: inputs are damaged and judged one after another, and the outcomes are counted."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ich_tf.runtime.sandbox import Sandbox, SandboxDied
from tools.fuzzing.damage import damaged
from tools.fuzzing.seeds import good_archives, good_files
from tools.fuzzing.volume_judging import WRONG
from tools.fuzzing.volume_seeds import good_volumes

CPU_SECONDS = 10
MEMORY_MIB = 1024
# On the clock: no measure of the input, but the campaign has to go on.
_SILENT_SECONDS = 300.0


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
    """The input of a number: a good file, archive, volume or mask, damaged.

    Returns:
      Name that tells the format of a volume or mask, empty for files and archives; and the bytes.
    """
    rng = np.random.default_rng([seed, number])
    files, archives = list(good_files().values()), list(good_archives().values())
    if rng.integers(4) == 0:
        volumes = list(good_volumes().values())
        name, original = volumes[rng.integers(len(volumes))]
        return name, damaged(original, [data for _, data in volumes], rng)
    originals = archives if rng.integers(8) == 0 else files
    return "", damaged(originals[rng.integers(len(originals))], files, rng)


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
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}-{number}{Path(name).suffix}").write_bytes(data)
    finally:
        sandbox.close()
    return report


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
