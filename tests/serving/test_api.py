"""The server's answers: what a study goes through, what is refused, and what nobody is told."""

import gzip
import io
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_tf.dicom.reader import read_slice
from ich_tf.inference.explainer import Explainer
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.labels import CLASSES
from ich_tf.runtime.strategies import make_strategy
from ich_tf.serving.analysis import as_slice, model_image
from ich_tf.serving.guard import CONTENT_POLICY
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.study import SliceFile
from tests.support.made_up import make_run
from tests.support.serving import Upload, files_of, post, running, served, wait, zipped

SECRET = "Zebrafink"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir of a network that answers within milliseconds."""
    return make_run(tmp_path_factory.mktemp("model") / "w", 32, 1)


@pytest.fixture(scope="module")
def uploads(phantom_dir: Path) -> list[Upload]:
    """One series."""
    folder = phantom_dir / "stage_2_test"
    series: dict[str, list[Upload]] = {}
    for name, data in files_of(folder):
        series.setdefault(read_slice(data).header.series_id, []).append((name, data))
    return next(iter(series.values()))


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a server that keeps all it gets; shared."""
    with running(model, tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.fixture(scope="module")
def study(client: httpx.Client, uploads: list[Upload]) -> dict:
    """The series, read backwards, and a file that is none."""
    return served(client, [("notes.txt", b"no DICOM"), *reversed(uploads)])


def in_order(uploads: list[Upload]) -> list[np.ndarray]:
    """Hounsfield units of a series from the feet to the head."""
    slices = [read_slice(data) for _, data in uploads]
    return [slice_.hu for slice_ in sorted(slices, key=lambda slice_: slice_.header.position_mm[2])]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code; every error has both and a message, and nothing else."""
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"code", "message"}, body
    assert body["error"]["message"].endswith(".")
    return answer.status_code, body["error"]["code"]


def test_a_study_is_read_and_predicted(study: dict, uploads: list[Upload]) -> None:
    assert study["state"] == "done" and study["error"] is None
    assert study["num_files"] == len(uploads) + 1
    assert study["progress"] == {"done": len(uploads), "total": len(uploads)}
    (rejected,) = study["rejected"]
    assert (rejected["file"], rejected["entry"], rejected["reason"]) == (0, None, "NOT_DICOM")
    (series,) = study["series"]
    assert series["num_slices"] == len(uploads)
    assert (series["rows"], series["columns"]) == (64, 64)
    assert series["z_mm"] == sorted(series["z_mm"])
    assert series["orientation"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert series["areas_mm2"] is None  # the model has no decoder
    assert series["spacing_mm"] == list(read_slice(uploads[0][1]).header.spacing_mm)
    probabilities = np.array(series["probabilities"])
    assert probabilities.shape == (len(uploads), 6)
    assert 0 < probabilities.min() < probabilities.max() < 1
    assert 0 < study["expires_in_seconds"] <= 3600
    assert study["upload"] == [study["study_id"]]
    assert study["model"]["sha256"]


def test_a_series_says_what_it_is_and_where_its_slices_came_from(
    study: dict, uploads: list[Upload]
) -> None:
    (series,) = study["series"]
    headers = [read_slice(data).header for _, data in reversed(uploads)]
    assert series["chosen"] == "the only series of its study"
    described = series["described"]
    assert described["kernel"] == headers[0].kernel and described["pass_number"] == 1
    assert described["thickness_mm"] is None and described["series_number"] is None
    assert f"{len(uploads)} slices of" in described["text"]
    # The first file of the upload has no slice.
    for slice_, z_mm in zip(series["slices"], series["z_mm"], strict=True):
        header = headers[slice_["file"] - 1]
        assert tuple(slice_["position_mm"]) == header.position_mm
        assert z_mm == pytest.approx(header.position_mm[2], abs=1e-3)
        assert header.instance == -1 and slice_["instance_number"] is None
        assert slice_["entry"] is slice_["frame"] is slice_["sop_instance_uid"] is None
    assert {slice_["file"] for slice_ in series["slices"]} == {*range(1, len(uploads) + 1)}


def test_pixels_are_hounsfield_units(
    client: httpx.Client, study: dict, uploads: list[Upload]
) -> None:
    for number, hu in enumerate(in_order(uploads)):
        answer = client.get(f"/api/studies/{study['study_id']}/series/0/slices/{number}/pixels")
        assert answer.headers["content-encoding"] == "gzip"
        shape = int(answer.headers["x-rows"]), int(answer.headers["x-columns"])
        pixels = np.frombuffer(answer.content, "<i2").reshape(shape)
        np.testing.assert_array_equal(pixels, np.rint(hu))


def test_heat_maps_are_the_explainer_s(
    client: httpx.Client, study: dict, uploads: list[Upload], model: Path
) -> None:
    predictor = load_predictor(str(model), make_strategy("mirrored"))
    explainer = Explainer(predictor)
    number = study["series"][0]["summary"]["most_suspicious"]["any"]
    hu = in_order(uploads)[number]
    place = SliceFile("", 64, 64, (), (), ())
    route = f"/api/studies/{study['study_id']}/series/0/slices/{number}/heatmaps"
    seen = set()
    for column, name in enumerate(CLASSES):
        answer = client.get(f"{route}/{name}")
        assert answer.headers["content-encoding"] == "gzip"
        heat = np.frombuffer(answer.content, np.uint8).reshape(64, 64)
        expected = as_slice(explainer(model_image(predictor, hu, ())[None], name)[0], place)
        peak, greatest = (float(answer.headers[f"x-{name}"]) for name in ("peak", "greatest"))
        own = explainer.network_probabilities(model_image(predictor, hu, ())[None])[0, column]
        shown = study["series"][0]["probabilities"][number][column]
        assert answer.headers["x-explains"] == explainer.caption(own, shown, prevalence=False)
        assert f"own probability {own:.2f}" in answer.headers["x-explains"]
        # One scale for all slices and classes: those without a bleed stay dark.
        assert peak == explainer.scale() == study["model"]["heat_scale"][name]
        assert greatest == pytest.approx(expected.max(), rel=1e-4)
        np.testing.assert_allclose(
            heat * peak / 255, np.minimum(expected, peak), atol=0.01 * peak + 1e-9
        )
        assert client.get(f"{route}/{name}").content == answer.content  # from the cache
        seen.add(answer.content)
    assert len(seen) > 1


def test_results_to_keep(client: httpx.Client, study: dict) -> None:
    route = f"/api/studies/{study['study_id']}"
    whole = client.get(f"{route}/results.json").json()
    # What is kept does not say for how long the server keeps its own: the same bytes at any time.
    assert {**whole["study"], "expires_in_seconds": study["expires_in_seconds"]} == study
    assert "expires_in_seconds" not in whole["study"]
    assert whole["model"] == client.get("/api/model").json()
    assert whole["note"] == "Research only - not for clinical use"
    answer = client.get(f"{route}/results.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="results.csv"'
    table = pd.read_csv(io.StringIO(answer.text), float_precision="round_trip")
    (series,) = study["series"]
    assert list(table) == ["series", "slice", "file", "entry", "frame", "z_mm", *CLASSES]
    assert table["file"].tolist() == [slice_["file"] for slice_ in study["series"][0]["slices"]]
    assert table["slice"].tolist() == list(range(len(table)))
    np.testing.assert_array_equal(table["z_mm"], series["z_mm"])
    np.testing.assert_array_equal(table[list(CLASSES)], series["probabilities"])


def test_what_is_not_there(client: httpx.Client, study: dict) -> None:
    route = f"/api/studies/{study['study_id']}"
    count = study["series"][0]["num_slices"]
    for path, expected in {
        "/api/studies/abc": (404, "NO_STUDY"),
        "/api/studies/abc/results.csv": (404, "NO_STUDY"),
        f"{route}/series/1/report.dcm": (404, "NO_SLICE"),
        f"{route}/series/0/slices/{count}/pixels": (404, "NO_SLICE"),
        f"{route}/series/0/slices/{count}/heatmaps/any": (404, "NO_SLICE"),
        f"{route}/series/0/slices/0/heatmaps/{SECRET}": (404, "NO_CLASS"),
        f"{route}/series/0/slices/0/mask.png": (404, "NO_MASK"),
        f"{route}/series/0/slices/-1/pixels": (422, "INVALID"),
        f"{route}/series/{SECRET}/slices/0/pixels": (422, "INVALID"),
        "/api/nothing": (404, "NO_PAGE"),
        f"/{SECRET}.js": (404, "NO_PAGE"),
        "/../api.py": (404, "NO_PAGE"),
        "/%2e%2e/api.py": (404, "NO_PAGE"),
    }.items():
        answer = client.get(path)
        assert error_of(answer) == expected, path
        assert SECRET not in answer.text
    assert error_of(client.put("/api/studies")) == (405, "WRONG_METHOD")
    assert error_of(client.delete("/api/studies/abc")) == (404, "NO_STUDY")
    assert error_of(client.post(f"/api/samples/{SECRET}")) == (404, "NO_SAMPLE")


def test_a_study_without_a_slice_fails_with_a_reason(client: httpx.Client) -> None:
    study = served(client, [(f"{SECRET}.txt", b"x" * 999), ("y", b"")])
    assert study["state"] == "failed" and study["series"] == []
    assert study["error"]["code"] == "NO_SLICES"
    assert [file["file"] for file in study["rejected"]] == [0, 1]
    answer = client.get(f"/api/studies/{study['study_id']}/results.json")
    assert error_of(answer) == (409, "NOT_DONE")
    assert SECRET not in json.dumps(study)


def test_deleted_is_gone(model: Path, tmp_path: Path, uploads: list[Upload]) -> None:
    state = tmp_path / "state"
    with running(model, state) as client:
        study = served(client, uploads)
        route = f"/api/studies/{study['study_id']}"
        assert len(list((state / "studies" / study["study_id"]).iterdir())) == len(uploads) + 1
        assert client.get(f"{route}/series/0/slices/0/heatmaps/any").status_code == 200
        assert client.delete(route).status_code == 204
        for path in ("", "/results.csv", "/series/0/slices/0/heatmaps/any"):
            assert error_of(client.get(route + path)) == (404, "NO_STUDY")
        assert error_of(client.delete(route)) == (404, "NO_STUDY")
        # One that waits or is worked on stops, and makes room for others.
        for _ in range(3):
            begun = post(client, uploads).json()["study_id"]
            assert client.delete(f"/api/studies/{begun}").status_code == 204
            assert error_of(client.get(f"/api/studies/{begun}")) == (404, "NO_STUDY")
        assert served(client, uploads)["state"] == "done"
        assert len(list((state / "studies").iterdir())) == 1
        assert not list((state / "uploads").rglob("*.*"))


def test_studies_expire(model: Path, tmp_path: Path, uploads: list[Upload]) -> None:
    state = tmp_path / "state"
    with running(model, state, Limits(kept_seconds=1.0)) as client:
        study = served(client, uploads)
        end = time.monotonic() + 30
        while client.get(f"/api/studies/{study['study_id']}").status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert list((state / "studies").iterdir()) == []
    with running(model, state, Limits(kept_studies=2)) as client:
        ids = [served(client, uploads[:2])["study_id"] for _ in range(3)]
        codes = [client.get(f"/api/studies/{study_id}").status_code for study_id in ids]
        assert codes == [404, 200, 200]
        assert {folder.name for folder in (state / "studies").iterdir()} == set(ids[1:])


def begun_upload(client: httpx.Client) -> socket.socket:
    """An upload of which half was sent."""
    url = client.base_url
    sending = socket.create_connection((url.host, url.port or 80))
    sending.sendall(
        f"POST /api/studies HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Length: 5000\r\n"
        "Content-Type: multipart/form-data; boundary=xyz\r\n\r\n--xyz\r\n".encode()
    )
    return sending


def test_a_full_queue_says_when_to_come_again(
    model: Path, tmp_path: Path, uploads: list[Upload]
) -> None:
    with running(model, tmp_path / "state", Limits(uploads=1)) as client:
        with begun_upload(client):
            while "ich_tf_uploads_under_way 1.0" not in client.get("/metrics").text:
                time.sleep(0.02)
            answer = post(client, uploads)
            assert error_of(answer) == (503, "BUSY")
            assert int(answer.headers["retry-after"]) >= 1
        # The client went, and its place is free.
        end = time.monotonic() + 30
        while (answer := post(client, uploads)).status_code == 503:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert wait(client, answer.json()["study_id"])["state"] == "done"


def test_of_many_clients_none_is_lost(model: Path, tmp_path: Path, uploads: list[Upload]) -> None:
    """Each is told 503 or served, and both happen; who is served gets the same answer."""
    with running(model, tmp_path / "state", Limits(queue=3)) as client:

        def send(_: int) -> tuple[int, dict | None]:
            answer = post(client, uploads)
            if answer.status_code == 503:
                assert error_of(answer) == (503, "BUSY") and answer.headers["retry-after"]
                return 503, None
            return answer.status_code, wait(client, answer.json()["study_id"])

        with ThreadPoolExecutor(20) as threads:
            outcomes = list(threads.map(send, range(20)))
        expected = served(client, uploads)["series"]
    studies = [study for _, study in outcomes if study is not None]
    assert len(outcomes) == 20 and {code for code, _ in outcomes} == {202, 503}
    assert all(study["state"] == "done" and study["series"] == expected for study in studies)


def test_an_upload_that_stops_is_told(model: Path, tmp_path: Path) -> None:
    with running(model, tmp_path / "state", Limits(idle_seconds=0.3)) as client:
        with begun_upload(client) as sending:
            sending.settimeout(30)
            assert sending.recv(1 << 16).startswith(b"HTTP/1.1 408")
        assert list((tmp_path / "state/uploads").iterdir()) == []


def test_too_much_is_refused(model: Path, tmp_path: Path, uploads: list[Upload]) -> None:
    limits = Limits(body_mb=1, unpacked_mb=2, files=40)
    large = bytes(2 * MIB)
    with running(model, tmp_path / "state", limits) as client:

        def unsized() -> Iterator[bytes]:
            yield b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            for _ in range(32):
                yield bytes(MIB // 16)
            yield b"\r\n--xyz--\r\n"

        kind = {"content-type": "multipart/form-data; boundary=xyz"}
        for answer, code in [
            (post(client, [("a", large)]), "TOO_LARGE"),
            (client.post("/api/studies", content=unsized(), headers=kind), "TOO_LARGE"),
            (post(client, [("a.zip", zipped([("a", bytes(9 * MIB))]))]), "TOO_LARGE"),
            (post(client, [("a", b"x")] * 41), "TOO_MANY_FILES"),
            (post(client, [("a.zip", zipped([(str(i), b"") for i in range(99)]))]), "TOO_LARGE"),
        ]:
            assert error_of(answer) == (413, code)
        assert error_of(client.post("/api/studies")) == (400, "NOT_MULTIPART")
        assert served(client, uploads)["state"] == "done"
        assert list((tmp_path / "state/uploads").rglob("*.*")) == []


def test_every_answer_forbids_what_the_page_does_not_need(client: httpx.Client) -> None:
    for path in ("/", "/app.js", "/style.css", "/api/model", "/api/docs", "/api/no", "/metrics"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == CONTENT_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        of_page = path in ("/", "/app.js", "/style.css")
        assert headers["cache-control"] == ("no-cache" if of_page else "no-store")
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    assert "unsafe" not in CONTENT_POLICY and "http" not in CONTENT_POLICY


def test_other_sites_cannot_ask(client: httpx.Client, uploads: list[Upload]) -> None:
    answer = client.get("/api/model", headers={"host": "evil.example:80"})
    assert error_of(answer) == (421, "WRONG_HOST")
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post("/api/studies", files=[("files", uploads[0])], headers=headers)
        assert error_of(answer) == (403, "FOREIGN_ORIGIN")


def test_a_token_is_wanted(model: Path, tmp_path: Path, uploads: list[Upload]) -> None:
    token = "sesame-open-sesame"
    with running(model, tmp_path / "state", token=token, host="0.0.0.0") as client:
        for path in ("/api/model", "/api/studies/abc", "/metrics", "/api/samples"):
            assert error_of(client.get(path)) == (401, "NO_TOKEN")
            wrong = {"authorization": f"Bearer {token}x"}
            assert error_of(client.get(path, headers=wrong)) == (401, "NO_TOKEN")
        assert error_of(post(client, uploads)) == (401, "NO_TOKEN")
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/").status_code == 200
        client.headers["authorization"] = f"Bearer {token}"
        assert served(client, uploads)["state"] == "done"
    assert list((tmp_path / "state/uploads").rglob("*.*")) == []


def test_samples(model: Path, tmp_path: Path, uploads: list[Upload]) -> None:
    folder = tmp_path / "samples/subdural"
    folder.mkdir(parents=True)
    for name, data in uploads:
        (folder / name).write_bytes(data)
    (folder / "description.txt").write_text("A phantom.\n")
    with running(model, tmp_path / "state", samples_dir=str(folder.parent)) as client:
        (sample,) = client.get("/api/samples").json()
        assert sample == {
            "name": "subdural",
            "description": "A phantom.",
            "num_files": len(uploads),
        }
        study = wait(client, client.post("/api/samples/subdural").json()["study_id"])
        assert study["series"][0]["num_slices"] == len(uploads) and not study["rejected"]
    assert len(list(folder.iterdir())) == len(uploads) + 1


def test_counters(client: httpx.Client, study: dict) -> None:
    text = client.get("/metrics").text

    def value(name: str) -> float:
        (count,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(count)

    assert value('ich_tf_studies_total{outcome="done"}') >= 1
    assert value("ich_tf_slices_total") >= study["series"][0]["num_slices"]
    assert value('ich_tf_rejected_files_total{reason="NOT_DICOM"}') >= 1
    assert value("ich_tf_model_seconds_count") >= 1
    # Routes, not paths: those hold the keys of studies.
    assert "{study_id}" in text and study["study_id"] not in text


def test_the_description_is_whole(client: httpx.Client) -> None:
    openapi = client.get("/api/openapi.json").json()
    assert openapi["openapi"].startswith("3.")
    for path, methods in openapi["paths"].items():
        for about in methods.values():
            assert about["description"], path
            assert any(code.startswith("2") for code in about["responses"]), path
    page = client.get("/api/docs").text
    assert all(path in page for path in openapi["paths"])
    assert not re.findall(r"<script|<style|style=|https?:", page)


def named(data: bytes) -> bytes:
    """A slice that says whose it is, in every way that it can."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PatientName = f"{SECRET}^Anna<img src=x>"
    dataset.PatientID = f"{SECRET}-1"
    dataset.AccessionNumber = f"{SECRET}-2"
    dataset.InstitutionName = f"{SECRET} hospital"
    dataset.StudyDescription = dataset.SeriesDescription = f"CT of {SECRET}"
    dataset.Manufacturer = dataset.StationName = SECRET
    dataset.PatientBirthDate = "19391109"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_nobody_is_told_whose_it_is(
    model: Path,
    tmp_path: Path,
    uploads: list[Upload],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No name, id, date or file's name in any answer, log line or file that stays."""
    caplog.set_level(logging.DEBUG)
    files = [(f"{SECRET} {name}", named(data)) for name, data in uploads]
    broken = named(uploads[0][1])[:-999]  # an error that could quote the file
    files.append((f"{SECRET}.dcm", broken))
    headers = [read_slice(data).header for _, data in uploads]
    secrets = {SECRET, "19391109"} | {
        text for header in headers for text in (header.image_id, header.series_id, header.study_id)
    }
    answers = []
    state = tmp_path / "state"
    with running(model, state) as client:
        for sent in (files, [(f"{SECRET}.zip", zipped([(f"{SECRET}/{n}", d) for n, d in files]))]):
            study = served(client, sent)
            assert len(study["rejected"]) == 1
            route = f"/api/studies/{study['study_id']}"
            for path in (
                route,
                f"{route}/results.json",
                f"{route}/results.csv",
                f"{route}/series/0/report.dcm",
                f"{route}/series/0/slices/0/heatmaps/any.dcm",
                f"{route}/series/0/slices/0/pixels",
                "/metrics",
            ):
                answer = client.get(path)
                assert answer.status_code == 200, path
                answers.append(answer.content + str(answer.headers).encode())
    kept = [path for path in state.rglob("*") if path.is_file()]
    assert len(kept) > len(uploads)
    out, err = capfd.readouterr()
    # Not the client's, which asks from the same process.
    of_server = [record for record in caplog.records if not record.name.startswith("http")]
    logged = "\n".join([out, err, *(record.getMessage() for record in of_server)])
    assert "/api/studies/{study_id}" in logged, "the server logs what it answers"
    for secret in secrets:
        for answer in answers:
            assert secret.encode() not in answer
        for path in kept:
            assert secret not in path.name and secret.encode() not in path.read_bytes()
        assert secret not in logged
    # The keys that open studies are nobody's business either.
    assert study["study_id"] not in logged


def test_packed_answers_are_gzip_s(client: httpx.Client, study: dict) -> None:
    """Whoever takes the bytes as they are can unpack them."""
    route = f"/api/studies/{study['study_id']}/series/0/slices/0/pixels"
    with client.stream("GET", route) as answer:
        raw = b"".join(answer.iter_raw())
    assert len(gzip.decompress(raw)) == 64 * 64 * 2
