"""The training step of a timm network in PyTorch, in a process of its own that is timed in turns.

It imports nothing of ich_tf, so that the interpreter of another environment can run it. The first
argument is a JSON object of `make_step`'s arguments. It prints a line about itself as soon as it
has compiled and warmed up; then, for each number of steps on stdin, the seconds that they took.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import timm
import torch

_CLASSES = 6
_WARM_UP = 3


def make_step(
    network: str, image_size: int, batch_size: int, precision: str, *, compiled: bool = False
) -> Callable[[], Any]:
    """Makes a function that takes an optimizer step on a fixed batch of random uint8 images.

    Images are normalized on the device, as ich_tf does; layout is channels-last; Adam is fused
    where there is a GPU.

    Args:
      network: Name of the network in timm.
      image_size: Height and width of the input, px.
      batch_size: Images of a step.
      precision: `float32`, `tf32`, `float16` (with a gradient scaler) or `bfloat16`.
      compiled: Whether torch.compile compiles the network.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    allows_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allows_tf32
    torch.backends.cudnn.allow_tf32 = allows_tf32
    torch.backends.cudnn.benchmark = True
    model = timm.create_model(network, num_classes=_CLASSES)
    model = model.to(device, memory_format=torch.channels_last).train()
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=device == "cuda")
    scaler = torch.amp.GradScaler(device, enabled=precision == "float16")
    shape = (batch_size, 3, image_size, image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (batch_size, _CLASSES), device=device).float()
    loss_of = torch.nn.BCEWithLogitsLoss()

    def autocast() -> Any:
        if precision not in ("float16", "bfloat16"):
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=getattr(torch, precision))

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = loss_of(forward(images.float() / 127.5 - 1.0), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return step


def main() -> None:
    """Makes the step and times it as often as stdin asks."""
    step = make_step(**json.loads(sys.argv[1]))
    begun = time.perf_counter()
    step().item()
    first = time.perf_counter() - begun
    for _ in range(_WARM_UP - 1):
        step().item()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    about = {"device": device, "pytorch": torch.__version__, "timm": timm.__version__}
    print(json.dumps({**about, "first_call_seconds": first}), flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            loss = step()
        # Reading the loss waits for the device.
        loss.item()
        print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main()
