"""HTTP of a gateway: who may ask, health, readiness, metrics, worklist."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ich_tf.errors import InputError
from ich_tf.gateway.config import HttpSection, LimitsSection, TlsSection
from ich_tf.gateway.loop import Loop
from ich_tf.gateway.ports import Refused, SendFailed
from tests.support.certificates import make_pair, needs_openssl
from tests.support.gateway import SECRETS, Bench, client_of, fake_predict

TOKEN = "0123456789abcdef"
ASKS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.gateway.close()


def test_the_worklist_is_urgent_first_and_names_nobody(bench: Bench) -> None:
    for study, images in (("1.2.1", 1), ("1.2.9.4", 3)):
        for number in range(images):
            bench.send(number, study=study)
    bench.run()
    bench.send(0, study="1.2.5")
    with client_of(bench) as client:
        answer = client.get("/api/worklist")
    assert answer.status_code == 200
    rows = answer.json()["studies"]
    assert [(row["study"], row["state"], row["urgency"]) for row in rows] == [
        (2, "done", 0.03), (1, "done", 0.01), (3, "receiving", None),
    ]  # fmt: skip
    assert [row["suspected"] for row in rows] == [True, False, None]
    assert rows[0]["accession"] is None and rows[0]["received_at"].endswith("+00:00")
    assert answer.json()["counts"]["done"] == 2
    for secret in SECRETS:
        assert secret not in answer.text


def test_old_studies_leave_the_worklist_unless_asked_for(bench: Bench) -> None:
    bench.send(0, study="1.2.1")
    bench.run()
    bench.send(0, study="1.2.2")
    bench.clock.now += 25 * 3600
    with client_of(bench) as client:
        for query, expected in (("", [2]), ("?hours=26", [1, 2]), ("?hours=0", [2])):
            rows = client.get(f"/api/worklist{query}").json()["studies"]
            assert [row["study"] for row in rows] == expected
        assert client.get("/api/worklist?hours=-1").status_code == 422


def test_a_token_is_needed_where_there_is_one(bench: Bench) -> None:
    with client_of(bench, TOKEN) as client:
        for path in ("/api/worklist", "/metrics", "/dicom-web/studies"):
            assert client.get(path).status_code == 401
        assert client.get("/api/worklist", headers=ASKS).status_code == 200
        for path in (
            "/",
            "/worklist.js",
            "/worklist.css",
            *("/shared/style.css", "/shared/api.js"),
        ):
            assert client.get(path).status_code == 200, path
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 503
        assert client.get("/shared/index.html").status_code == 404
        assert client.get("/shared/..%2fconfig.py").status_code == 404


def test_without_a_token_only_this_machine_may_ask(bench: Bench) -> None:
    with client_of(bench) as client:
        assert client.get("/api/worklist", headers={"Host": "evil.example"}).status_code == 421
        retry = client.post("/api/worklist/1/retry", headers={"Origin": "http://evil.example"})
        assert retry.status_code == 403


def test_health_is_of_threads_and_readiness_of_disk_and_services(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with client_of(bench) as client:
        assert client.get("/healthz").status_code == 503
        assert client.get("/healthz").json()["dead"] == ["worker", "outbox", "keeper"]
        bench.gateway.start()
        assert client.get("/healthz").json() == {"status": "ok", "dead": []}
        assert client.get("/readyz").json() == {"status": "ok", "problems": {}}
        bench.gateway.close()
        # A database that is closed stands for one that cannot be read.
        assert client.get("/api/worklist").status_code == 503
        assert "queue" in client.get("/readyz").json()["problems"]


def test_a_proxy_may_serve_it_under_a_path(tmp_path: Path) -> None:
    bench = Bench(tmp_path, http=HttpSection(port=0, root_path="/ich"))
    with client_of(bench, TOKEN) as client:
        assert client.get("/ich").headers["location"] == "/ich/"
        for root in ("/ich", ""):  # whether the proxy removes it or not
            assert client.get(f"{root}/worklist.js").status_code == 200
            assert client.get(f"{root}/api/worklist").status_code == 401
            assert client.get(f"{root}/api/worklist", headers=ASKS).status_code == 200
    bench.gateway.close()


@needs_openssl
def test_https_answers_nothing_plain(tmp_path: Path) -> None:
    authority = make_pair(tmp_path, "authority")
    pair = make_pair(tmp_path, "gateway", authority)
    tls = TlsSection(
        certificate_file=str(pair.certificate),
        key_file=str(pair.key),
        ca_file=str(authority.certificate),
    )
    bench = Bench(tmp_path, http=HttpSection(port=0, tls=True), tls=tls)
    with client_of(bench, TOKEN) as client:
        assert client.get("/api/worklist", headers=ASKS).status_code == 200
        plain = str(client.base_url).replace("https:", "http:")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{plain}/api/worklist", headers=ASKS)
    bench.gateway.close()


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=LimitsSection(free_mb=10**9))
    with pytest.raises(Refused, match="limits.free_mb"):
        bench.send()
    with client_of(bench) as client:
        problems = client.get("/readyz").json()["problems"]
    assert "limits.free_mb" in problems["disk"]
    bench.gateway.close()


def test_metrics_tell_the_queue(bench: Bench) -> None:
    bench.archive.failures = [SendFailed("TIMEOUT", "no.", is_final=False)]
    bench.send()
    bench.run()
    bench.clock.now += 5
    bench.step("keeper")
    with client_of(bench) as client:
        text = client.get("/metrics").text
    for line in (
        'ich_tf_gateway_studies{state="sending"} 1.0',
        "ich_tf_gateway_queue_age_seconds 66.0",
        'ich_tf_gateway_send_failures_total{reason="TIMEOUT"} 1.0',
        'ich_tf_gateway_objects_total{outcome="stored",source="dimse"} 1.0',
        'ich_tf_gateway_service_up{service="worker"} 0.0',
    ):
        assert line in text, line


def test_a_failed_study_is_tried_again_on_request(tmp_path: Path) -> None:
    errors = [InputError("no.")]

    def predict(images: Path, work: Path, results: Path):
        if errors:
            raise errors.pop()
        return fake_predict(images, work, results)

    bench = Bench(tmp_path, predict)
    bench.send()
    bench.run()
    with client_of(bench) as client:
        (row,) = client.get("/api/worklist").json()["studies"]
        assert (row["reason"], row["text"], row["can_retry"]) == ("PREDICTION", "no.", True)
        assert client.post("/api/worklist/1/retry").status_code == 202
        bench.run()
        assert bench.states() == ["done"]
        assert client.post("/api/worklist/1/retry").json()["error"]["code"] == "NO_RETRY"
        assert client.post("/api/worklist/2/retry").status_code == 404
        for name in ("x", "0", "9" * 30):
            assert client.post(f"/api/worklist/{name}/retry").status_code == 422, name
    bench.gateway.close()


def test_a_loop_outlives_its_steps(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[BaseException] = [KeyError("Secret^Name"), OSError(28, "No space left on device")]
    is_done = threading.Event()

    def step() -> float:
        if errors:
            raise errors.pop()
        is_done.set()
        return 60.0

    loop = Loop("part", step, pause_seconds=0.01)
    loop.start()
    assert is_done.wait(5)
    loop.close()
    assert "No space left on device" in caplog.text and "KeyError" in caplog.text
    assert "Secret" not in caplog.text
