"""What good clients ask of the page's server, and the answers that they expect."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np

from ich_tf.labels import CLASSES
from tools.soaking.pacing import Action, Random
from tools.soaking.services import Service
from tools.soaking.studies import GoodStudy
from tools.soaking.tally import expect

_GIVE_UP_SECONDS = 300.0
_POLL_SECONDS = 0.2
# A queue that is full is a documented answer, with the time after which to ask again.
_MOST_BUSY = 30
_PAGES = ("/", "/index.html", "/api/service", "/api/docs", "/api/openapi.json", "/metrics")


class PageLoad:
    """Good clients of one server.

    A client is made for each action: connections come and go, as those of browsers do.
    """

    def __init__(self, service: Service, studies: Sequence[GoodStudy]) -> None:
        """Stores its arguments.

        Args:
          service: The server.
          studies: Studies to send.
        """
        self._service, self._studies = service, studies
        self._lock = threading.Lock()
        self._answers: dict[tuple[int, str], np.ndarray] = {}

    def actions(self) -> Mapping[str, Action]:
        """Kind -> action."""
        return {
            "page: upload of files": Action(self.upload, 4),
            "page: upload of an archive": Action(self.upload_zip, 2),
            "page: upload in parts": Action(self.upload_parts, 1),
            "page: sample": Action(self.sample, 1),
            "page: files and pages": Action(self.browse, 2),
            "page: parallel requests": Action(self.together, 1),
        }

    def learn(self) -> None:
        """Sends each study once: later answers have to equal these."""
        with self._service.client() as client:
            for study in self._studies:
                self._served(client, study, _files(study))

    def upload(self, random: Random) -> str:
        """Sends a study as files, and looks at all of its results."""
        study = self._drawn(random)
        with self._service.client() as client:
            found = self._served(client, study, _files(study))
            self._look(client, found, random)
            return self._leave(client, found, random)

    def upload_zip(self, random: Random) -> str:
        """Sends a study as an archive."""
        study = self._drawn(random)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in study.uploads:
                archive.writestr(name, data)
        with self._service.client() as client:
            found = self._served(client, study, [("files", ("s.zip", buffer.getvalue()))])
            self._look(client, found, random)
            return self._leave(client, found, random)

    def upload_parts(self, random: Random) -> str:
        """Sends a study in two requests."""
        study = self._drawn(random)
        files = _files(study)
        with self._service.client() as client:
            for _ in range(_MOST_BUSY):
                first = _post(client, "/api/studies?more=true", files[:9])
                route = f"/api/studies/{first.json()['study_id']}/files"
                last = client.post(route, files=files[9:])
                if last.status_code != 503:
                    break
                time.sleep(float(last.headers["retry-after"]))  # an error drops the whole upload
            expect(last.status_code == 202, f"the last part: {last.status_code} {last.text}")
            found = _wait(client, last.json()["study_id"])
            self._check(study, found)
            return self._leave(client, found, random)

    def sample(self, random: Random) -> str:
        """Starts a sample, which is a study of this machine."""
        with self._service.client() as client:
            samples = client.get("/api/samples").json()
            name = samples[random.integers(len(samples))]["name"]
            found = _wait(client, _post(client, f"/api/samples/{name}").json()["study_id"])
            self._check(self._studies[int(name)], found)
            return self._leave(client, found, random)

    def browse(self, random: Random) -> str:
        """Asks for the page, its files and what is said of the server, whole and in ranges."""
        with self._service.client() as client:
            for path in _PAGES:
                expect(client.get(path).status_code == 200, path)
            for path in ("/healthz", "/readyz", "/api/model"):
                answer = client.get(path)
                expect(answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}")
            whole = client.get("/")
            etag = {"if-none-match": whole.headers["etag"]}
            expect(client.get("/", headers=etag).status_code == 304, "a file that is known")
            begin = int(random.integers(0, 2 * len(whole.content)))
            part = client.get("/", headers={"range": f"bytes={begin}-{begin + 9}"})
            expect(part.status_code in (200, 206, 416), f"a range: {part.status_code}")
            if part.status_code == 206:
                expect(part.content == whole.content[begin : begin + 10], "the range's bytes")
            many = {"range": "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(100))}
            ranges = client.get("/", headers=many).status_code
            expect(ranges in (200, 206, 400, 416), f"100 ranges: {ranges}")
            expect(client.head("/").status_code == 200, "HEAD of the page")
        return "200"

    def together(self, random: Random) -> str:
        """Several clients ask at once."""

        def ask(path: str) -> int:
            with self._service.client() as client:
                return client.get(path).status_code

        with ThreadPoolExecutor(6) as pool:
            statuses = set(pool.map(ask, ["/api/model", "/", "/metrics", "/healthz"] * 3))
        expect(statuses == {200}, f"statuses {statuses}")
        return "200"

    def _drawn(self, random: Random) -> GoodStudy:
        return self._studies[random.integers(len(self._studies))]

    def _served(
        self, client: httpx.Client, study: GoodStudy, files: list[tuple[str, tuple[str, bytes]]]
    ) -> dict[str, Any]:
        found = _wait(client, _post(client, "/api/studies", files).json()["study_id"])
        self._check(study, found)
        return found

    def _check(self, study: GoodStudy, found: dict[str, Any]) -> None:
        """Checks that a study is done with the probabilities and masks of the first time."""
        expect(found["state"] == "done", f"study {study.number}: {found['error']}")
        (series,) = found["series"]
        expect(series["num_slices"] == len(study.files), f"{series['num_slices']} slices")
        for name in ("probabilities", "areas_mm2"):
            values = np.array(series[name])
            with self._lock:
                first = self._answers.setdefault((study.number, name), values)
            same = values.shape == first.shape and np.allclose(values, first, rtol=1e-4, atol=1e-5)
            expect(same, f"study {study.number}: {name} differ from the first answer")

    def _look(self, client: httpx.Client, found: dict[str, Any], random: Random) -> None:
        """Asks for pixels, masks, heat maps and downloads of a study."""
        root = f"/api/studies/{found['study_id']}"
        number = random.integers(found["series"][0]["num_slices"])
        name = CLASSES[random.integers(len(CLASSES))]
        slice_ = f"{root}/series/0/slices/{number}"
        paths = [
            f"{slice_}/pixels",
            f"{slice_}/mask.png",
            f"{slice_}/heatmaps/{name}",
            f"{slice_}/heatmaps/{name}.dcm",
            f"{root}/results.json",
            f"{root}/results.csv",
            f"{root}/series/0/report.dcm",
        ]
        for path in paths:
            answer = _patient(lambda path=path: client.get(path))  # type: ignore[misc]
            # A study may be over before its time, when newer ones take its place.
            expect(answer.status_code in (200, 404), f"{path[-20:]}: {answer.status_code}")
            if path.endswith(".dcm") and answer.status_code == 200:
                expect(answer.content[128:132] == b"DICM", f"{path[-20:]} is no DICOM file")

    def _leave(self, client: httpx.Client, found: dict[str, Any], random: Random) -> str:
        """Deletes a study, or leaves it to the server's retention."""
        if random.integers(3) == 0:
            return "done, left"
        status = client.delete(f"/api/studies/{found['study_id']}").status_code
        expect(status in (204, 404), f"DELETE: {status}")
        return "done, deleted"


def _files(study: GoodStudy) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", upload) for upload in study.uploads]


def _post(client: httpx.Client, path: str, files: Any = None) -> httpx.Response:
    answer = _patient(lambda: client.post(path, files=files))
    expect(answer.status_code == 202, f"POST: {answer.status_code} {answer.text[:200]}")
    return answer


def _patient(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Asks again as long as the server is busy."""
    for _ in range(_MOST_BUSY):
        answer = ask()
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers["retry-after"]))
    return answer


def _wait(client: httpx.Client, study_id: str) -> dict[str, Any]:
    end = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < end:
        answer = client.get(f"/api/studies/{study_id}")
        expect(answer.status_code == 200, f"GET of a study: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        if found["state"] in ("done", "failed"):
            return found
        time.sleep(_POLL_SECONDS)
    expect(False, f"a study is not done after {_GIVE_UP_SECONDS:g} s")
    return {}
