"""A process that holds timm's training step, and is asked to take steps between our own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("pytorch_step.py")
# timm's networks with the structure of ours, by our backbone's name.
NETWORKS = {"resnet50": "resnet50", "efficientnet_b4": "efficientnet_b4"}


class TimmProcess:
    """The step of a timm network in another process.

    Attributes:
      about: Device, versions, and seconds of the first call; `error` alone if PyTorch or timm is
        missing, or the step failed.
    """

    def __init__(self, python: str, backbone: str, **arguments: Any) -> None:
        """Starts the process, and waits until it has warmed up.

        Args:
          python: Interpreter that may have PyTorch and timm.
          backbone: Name of our network.
          **arguments: Further arguments of `pytorch_step.make_step`.
        """
        self.about: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None
        if backbone not in NETWORKS:
            self.about = {"error": f"no network of timm is known that equals {backbone}"}
            return
        line = json.dumps({"network": NETWORKS[backbone], **arguments})
        # Not a pipe: nobody reads the warnings of a compilation, and a full pipe would stop it.
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(_SCRIPT), line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
        )
        self.about = self._answer()

    @property
    def works(self) -> bool:
        """Whether steps can be timed."""
        return "error" not in self.about

    def seconds(self, steps: int) -> float:
        """Takes optimizer steps, and returns the seconds of all of them.

        Args:
          steps: Number of steps, 1 or more.
        """
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            self.about = answer
            return float("nan")
        return float(answer["seconds"])

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()
            self._messages.close()
            self._process = None

    def _answer(self) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdout is not None
        line = process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait()
        self._messages.seek(0)
        message = self._messages.read().strip().splitlines()
        return {"error": message[-1] if message else f"exit code {code}"}
