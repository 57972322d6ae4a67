"""What is measured of training on a device, and the figures, as a line of a table and as JSON."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tools.benchmark.device_trace import DeviceTrace

# Steps in a trace: enough for a mean, few enough to read.
TRACED_STEPS = 6


@dataclass(frozen=True)
class Combination:
    """What is measured.

    Attributes:
      backbone: Name of the network.
      image_size: Height and width of its input, px.
      batch_size: Slices of a step.
      precision: `float32` (without TF32), `tf32`, `float16` or `bfloat16`.
      xla: Whether XLA compiles the step.
      recipe: `plain` or `strong`.
    """

    backbone: str
    image_size: int
    batch_size: int
    precision: str
    xla: bool
    recipe: str


@dataclass
class Rates:
    """Result of a measurement; NaN and None stand for what was not measured.

    Attributes:
      first_call: Seconds of the first step, with the building of its graph and the compilation.
      step: Slices a second of the step on one batch.
      input: Slices a second of the input pipeline without a step.
      input_cpu_ms: CPU time of the input pipeline for a slice, ms.
      both: Slices a second of the step with its input.
      waited: Share of the time that the step waited for its input.
      timm: Images a second of timm's step, or the reason why there is none.
      step_trace, both_trace: Use of the GPU.
      peak_gib: Largest use of the GPU's memory, GiB.
      published: Published images a second and their GPU.
      error: Reason why the measurement stopped.
    """

    combination: Combination
    first_call: float = float("nan")
    step: float = float("nan")
    input: float = float("nan")
    input_cpu_ms: float = float("nan")
    both: float = float("nan")
    waited: float = float("nan")
    timm: float | str = "off"
    step_trace: DeviceTrace = field(default_factory=DeviceTrace)
    both_trace: DeviceTrace = field(default_factory=DeviceTrace)
    peak_gib: float | None = None
    published: tuple[float, str] | None = None
    error: str = ""

    HEADING: ClassVar[str] = (
        f"{'network':<16} {'px':>4} {'batch':>5} {'precision':<9} {'XLA':<3} | {'step':>7} "
        f"{'timm':>7} {'ratio':>5} {'published':>10} {'ratio':>5} | {'input':>7} {'ms':>5} "
        f"{'both':>7} | {'idle':>5} {'both':>5} {'syncs':>5} | {'GiB':>5} {'1st s':>6}"
    )

    def line(self) -> str:
        """One line of the table under `HEADING`."""
        of = self.combination
        name = (
            f"{of.backbone:<16} {of.image_size:>4} {of.batch_size:>5} {of.precision:<9} "
            f"{'on' if of.xla else 'off':<3} |"
        )
        if self.error:
            return f"{name} {self.error}"
        timm = self.timm if isinstance(self.timm, float) else None
        published = f"{self.published[0]:.0f} {self.published[1]}" if self.published else "-"
        ratio = self.step / self.published[0] if self.published else None
        return (
            f"{name} {self.step:7.1f} {_text(timm, '7.1f')} "
            f"{_text(timm and self.step / timm, '5.2f')} {published:>10} {_text(ratio, '5.2f')} | "
            f"{self.input:7.1f} {self.input_cpu_ms:5.1f} {self.both:7.1f} | "
            f"{_text(self.step_trace.idle, '5.1%')} {_text(self.both_trace.idle, '5.1%')} "
            f"{self.both_trace.waits / TRACED_STEPS:5.1f} | {_text(self.peak_gib, '5.1f')} "
            f"{self.first_call:6.1f}"
        )

    def values(self) -> dict[str, Any]:
        """All figures, for JSON."""
        values = dataclasses.asdict(self)
        del values["combination"]
        for name in ("step_trace", "both_trace"):
            kernels = values[name]["kernels"]
            values[name]["kernels"] = dict(itertools.islice(kernels.items(), 20))
            values[name]["idle"] = getattr(self, name).idle
            values[name]["steps"] = TRACED_STEPS
        return values


def _text(value: float | None, form: str) -> str:
    width = int(form.split(".")[0])
    return format("-", f">{width}") if value is None else format(value, form)
