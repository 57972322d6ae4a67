"""A soak from its beginning to its end: services, load, outages, samples, and what is wrong."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from ich_tf.errors import InputError, Terminated
from tests.support.gateways import NAME
from tests.support.orthanc import free_port
from tools.soaking import services
from tools.soaking.archive import TITLE, Destination, make_archive
from tools.soaking.attack_gateway import GatewayAttack
from tools.soaking.attack_page import PageAttack
from tools.soaking.deliveries import Deliveries
from tools.soaking.judging import Verdict, judge_all
from tools.soaking.load_gateway import GatewayLoad
from tools.soaking.load_page import PageLoad
from tools.soaking.pacing import PacedClient
from tools.soaking.sampling import Sampler, folder_size
from tools.soaking.services import Service, left_over, serving
from tools.soaking.studies import read_studies
from tools.soaking.tally import Tally

# Time from one action to the next: of a good client of the page, and so on.
_EVERY_SECONDS = {"page": 2.0, "page attack": 3.0, "gateway": 5.0, "gateway attack": 4.0}
# Samples in a run: enough for medians, and few enough to cost nothing.
_SAMPLES = 240
_LEAST_EVERY = 1.0
# The archive is away for this share of a run, four times.
_OUTAGES, _AWAY = 4, 1 / 40
_MOST_AWAY_SECONDS = 60.0


@dataclass(frozen=True)
class SoakResult:
    """What came of a soak.

    Attributes:
      seconds: Time under load.
      archive: What the archive was.
      tally: What was asked, and what was answered.
      verdicts: What became of each value of each service.
      times: Time of each sample, seconds from the first.
      values: Name of the service -> name of the value -> its samples.
      samples: All samples, CSV.
      arrived: Number of studies that went through the gateway.
      problems: What is wrong, a sentence each; empty if nothing is.
    """

    seconds: float
    archive: str
    tally: Tally
    verdicts: list[Verdict]
    times: list[float]
    values: dict[str, dict[str, list[float]]]
    samples: str
    arrived: int
    problems: list[str]


def run(
    folder: Path,
    seconds: float,
    seed: int,
    report: Callable[[str], None],
    *,
    use_orthanc: bool = True,
) -> SoakResult:
    """Runs a soak.

    Args:
      folder: Empty folder for all that is written.
      seconds: Time under load.
      seed: Seed of all that is drawn.
      report: Called with lines of progress.
      use_orthanc: Whether the archive is Orthanc, where it is installed.

    Raises:
      InputError: If a service does not start.
      Terminated: At SIGTERM, once all that was started is ended.
    """
    with _terminable():
        report("preparing a model and phantoms")
        _prepare(folder, seed)
        (folder / "archive").mkdir()
        archive = make_archive(folder / "archive", use_orthanc=use_orthanc)
        try:
            return _with_archive(folder, seconds, seed, archive, report)
        finally:
            archive.stop()


def _prepare(folder: Path, seed: int) -> None:
    """Makes the model and the phantoms; nothing of the process that does runs afterwards."""
    command = [sys.executable, "-m", "tools.soaking.prepare", str(folder), str(seed)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate()
        finally:
            services.end_group(process.pid)
    if process.returncode:
        raise InputError(f"tools.soaking.prepare failed: {errors[-2000:]}")


def _with_archive(
    folder: Path, seconds: float, seed: int, archive: Destination, report: Callable[[str], None]
) -> SoakResult:
    """Starts the services, puts load on them, and ends them."""
    report(f"the archive is {archive.name}; starting the page and the gateway")
    tally, studies = Tally(), read_studies(folder / "studies")
    with contextlib.ExitStack() as stack:
        hook = stack.enter_context(_webhook(seed))
        page, gateway = (folder / name for name in ("page", "gateway"))
        for each in (page, gateway):
            each.mkdir()
        ports = [free_port() for _ in range(3)]
        flags = services.page(folder / "model", page, ports[0], folder / "studies")
        server = stack.enter_context(serving("page", "ich_tf.serve", flags, page, ports[0]))
        destination = f'kind = "dimse"\nport = {archive.port}\nae_title = "{TITLE}"'
        kept = max(20.0, seconds / 8)
        flags = services.gateway(
            folder / "model", gateway, ports[1], ports[2], destination, hook, kept
        )
        receiver = stack.enter_context(
            serving("gateway", "ich_tf.gateway", flags, gateway, ports[1], ports[2])
        )
        deliveries = Deliveries(receiver, archive, tally)
        page_load, gateway_load = (
            PageLoad(server, studies),
            GatewayLoad(receiver, studies, deliveries, seed),
        )
        page_load.learn()
        actions = {
            "page": page_load.actions(),
            "page attack": PageAttack(server, studies).actions(),
            "gateway": gateway_load.actions(),
            "gateway attack": GatewayAttack(receiver, studies, gateway_load).actions(),
        }
        clients = [
            PacedClient(name, actions[name], [seed, number], every, tally)
            for number, (name, every) in enumerate(_EVERY_SECONDS.items())
        ]
        deliveries.start()
        # The first prediction traces the network: no part of what is judged.
        tally.add("gateway: C-STORE", gateway_load.c_store(np.random.default_rng(seed)))
        deliveries.drain()
        both = [server, receiver]
        every = max(_LEAST_EVERY, seconds / _SAMPLES)
        report(f"load for {seconds / 60:.1f} min, a sample every {every:.0f} s")
        with Sampler([each.watched() for each in both], every) as sampler:
            begun = time.monotonic()
            _load(clients, archive, deliveries, both, seconds, tally, report)
            taken = time.monotonic() - begun
        for client in clients:
            client.end()
        report("load ends; the queue drains")
        for client in clients:
            if not client.join(600.0):
                tally.fail("soak", "a client waits for an answer for ten minutes")
        deliveries.drain()
        deliveries.end()
        problems = _ended(both)
    verdicts = judge_all(sampler.values)
    sent = round(tally.total / 3)
    problems = [
        *(verdict.text(sent) for verdict in verdicts if not verdict.is_flat),
        *tally.failures,
        *problems,
    ]
    return SoakResult(
        seconds=taken,
        archive=archive.name,
        tally=tally,
        verdicts=verdicts,
        times=sampler.times,
        values=sampler.values,
        samples=sampler.csv(),
        arrived=deliveries.arrived,
        problems=problems,
    )


def _load(
    clients: list[PacedClient],
    archive: Destination,
    deliveries: Deliveries,
    both: list[Service],
    seconds: float,
    tally: Tally,
    report: Callable[[str], None],
) -> None:
    """Lets the clients work, and the archive be away now and then."""
    for client in clients:
        client.start()
    begun, away = time.monotonic(), min(_MOST_AWAY_SECONDS, seconds * _AWAY)
    outages = [seconds * (number + 0.5) / _OUTAGES for number in range(_OUTAGES)]
    told = 0.0
    while (now := time.monotonic() - begun) < seconds:
        for each in both:
            if each.process.poll() is not None:
                text = each.log.read_text("utf-8", "replace")[-1000:]
                raise InputError(
                    f"{each.name} ended under load ({each.process.returncode}): {text}"
                )
        if outages and now >= outages[0]:
            outages.pop(0)
            with deliveries.archive_lock:
                archive.stop()
                time.sleep(away)
                archive.start()
            tally.add("gateway: archive away", f"{away:.0f} s")
        if now - told >= 60:
            told = now
            report(
                f"{now / 60:.0f} min: {tally.total} requests, {tally.num_failures} unexpected, "
                f"{deliveries.arrived} studies arrived, {deliveries.num_waiting} on their way"
            )
        time.sleep(0.5)


def _ended(both: list[Service]) -> list[str]:
    """Ends the services; returns what they leave behind that they should not."""
    problems = []
    for each in both:
        code = each.stop()
        if code:
            problems.append(f"{each.name}: ended with exit code {code} at SIGTERM.")
        if left_over(each):
            problems.append(f"{each.name}: a process of it runs on after its end.")
        _, number = folder_size(each.temporary)
        if number:
            problems.append(f"{each.name}: {number:.0f} temporary files are left after its end.")
        if each.dicom_port and folder_size(each.state / "spool")[1]:
            problems.append(f"{each.name}: files are left in its spool.")
        text = each.log.read_text("utf-8", "replace")
        if "Traceback" in text:
            at = text.index("Traceback")
            problems.append(f"{each.name}: its log holds a traceback: {text[at : at + 600]}")
        if NAME.split("^")[0] in text:
            problems.append(f"{each.name}: its log holds a patient's name.")
    return problems


@contextlib.contextmanager
def _webhook(seed: int):  # type: ignore[no-untyped-def]
    """A webhook that fails half of the time; gives its address."""
    random, lock = np.random.default_rng([seed, 99]), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            with lock:
                status = (200, 500)[random.integers(2)]
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _terminable():  # type: ignore[no-untyped-def]
    """A block that SIGTERM ends as an exception, so that all it started is ended."""

    def end(*_: object) -> None:
        raise Terminated("The soak was terminated.")

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
