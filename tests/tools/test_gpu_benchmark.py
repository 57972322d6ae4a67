"""The benchmark of GPUs, at sizes of a CPU: its table, its trace, and what it is compared with."""

import json
import math

import pytest
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from tests.support.commands import run
from tools.benchmark.device_trace import summarize, traced
from tools.benchmark.published import PUBLISHED, published_rate
from tools.benchmark.timm_process import TimmProcess
from tools.benchmark.training_rates import Combination, Rates

COMBINATION = Combination("resnet50", 224, 256, "float16", xla=True, recipe="plain")


def plane(name, lines):
    """A plane of events, (name, start, duration) in microseconds, by line."""
    message = xplane_pb2.XPlane(name=name)
    for line_name, events in lines.items():
        line = message.lines.add(name=line_name, timestamp_ns=1000)
        for event_name, start, duration in events:
            key = len(message.event_metadata)
            message.event_metadata[key].name = event_name
            line.events.add(metadata_id=key, offset_ps=start * 10**6, duration_ps=duration * 10**6)
    return message


def test_idle_time_is_what_no_stream_fills() -> None:
    gpu = plane(
        "/device:GPU:0",
        {
            # 10 to 40 and 60 to 100, of which 20 to 40 and 60 to 70 twice: 70 of 90 are busy.
            "Stream #1(Compute)": [("conv", 10, 30), ("add", 60, 40)],
            "Stream #2(MemcpyH2D)": [("copy", 20, 10), ("copy", 30, 10), ("copy", 60, 10)],
            # The same time again, by module.
            "XLA Modules": [("step", 0, 1000)],
        },
    )
    other = plane("/device:GPU:1", {"Stream #1": [("conv", 0, 500)]})
    host = plane(
        "/host:CUPTI",
        {"thread": [("cuStreamSynchronize", 0, 1), ("cuMemcpyDtoHAsync_v2", 2, 1), ("x", 4, 1)]},
    )
    trace = summarize([other, host, gpu])
    assert trace.seconds == pytest.approx(90e-6)
    assert trace.idle == pytest.approx(20 / 90)
    assert trace.launches == 5
    assert list(trace.kernels) == ["add", "conv", "copy"]
    assert trace.kernels["copy"] == pytest.approx(30e-6)
    assert (trace.waits, trace.copies_to_host) == (1, 1)


def test_a_trace_without_gpu_says_nothing_of_idle_time() -> None:
    import tensorflow as tf

    with traced() as traces:
        tf.square(tf.ones([4])).numpy()
    (trace,) = traces
    assert trace.idle is None
    assert trace.launches == 0


def test_published_figures_name_their_page() -> None:
    assert all(entry.source.startswith("https://github.com/NVIDIA/") for entry in PUBLISHED)
    assert published_rate("efficientnet_b4", 380, "bfloat16", "Tesla V100-SXM2") == (211, "V100")
    assert published_rate("efficientnet_b4", 256, "float32", "NVIDIA A100") is None


def test_line_holds_ratios() -> None:
    rates = Rates(COMBINATION, step=4750.0, timm=2500.0, published=(2375.0, "A100"))
    assert "4750.0  2500.0  1.90  2375 A100  2.00 |" in rates.line()
    failed = Rates(COMBINATION, error="out of memory")
    assert failed.line().endswith("| out of memory")
    assert len(Rates.HEADING) == len(rates.line())


def test_missing_pytorch_has_a_reason(tmp_path) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'timm'\" >&2\nexit 1\n"
    )
    python.chmod(0o755)
    process = TimmProcess(str(python), "resnet50", image_size=32, batch_size=2, precision="float32")
    assert not process.works
    assert process.about == {"error": "ModuleNotFoundError: No module named 'timm'"}
    process.close()
    unknown = TimmProcess(str(python), "tiny", image_size=32, batch_size=2, precision="float32")
    assert not unknown.works
    unknown.close()


def test_timm_is_timed_in_turns(tmp_path) -> None:
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\necho \'{"device": "CPU"}\'\n'
        'while read n; do echo "{\\"seconds\\": $n.5}"; done\n'
    )
    python.chmod(0o755)
    process = TimmProcess(str(python), "resnet50", image_size=32, batch_size=2, precision="float32")
    assert process.works
    assert [process.seconds(3), process.seconds(4)] == [3.5, 4.5]
    process.close()


@pytest.mark.slow
def test_command_measures_a_cpu(tmp_path) -> None:
    out = tmp_path / "gpu.json"
    run(
        "tools.benchmark.gpu", "--networks=tiny:32:4", "--precisions=float32,tf32",
        "--num_patients=6", "--matrix=64", "--steps=2", "--turns=1", "--timm=off",
        "--recipe=strong", f"--out_json={out}",
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert [rates["precision"] for rates in report["rates"]] == ["float32", "tf32"]
    for rates in report["rates"]:
        assert all(rates[name] > 0 for name in ("step", "input", "input_cpu_ms", "both"))
        assert not math.isnan(rates["first_call"])
        assert rates["step_trace"]["idle"] is None


def test_wrong_networks_are_wrong_usage() -> None:
    done = run("tools.benchmark.gpu", "--networks=resnet50:224", code=2)
    assert "backbone:pixels:batch" in done.stderr
