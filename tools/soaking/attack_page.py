"""What hostile and unlucky clients ask of the page's server, and how they are refused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import httpx

from tests.support.hostile_archives import HOSTILE
from tools.fuzzing.damage import damaged
from tools.soaking.load_page import _post, _wait
from tools.soaking.pacing import Action, Random
from tools.soaking.raw_http import exchange, hang_up, head
from tools.soaking.services import TOKEN, Service
from tools.soaking.studies import GoodStudy
from tools.soaking.tally import expect

_AUTHORIZATION = f"Bearer {TOKEN}"
_BOUNDARY = "soak"
_FORM = f"multipart/form-data; boundary={_BOUNDARY}"
# Codes of a study without results; FAILED would be an error that nobody foresaw.
_FAILED = ("NO_SLICES", "NO_SERIES", "TOO_MANY_STUDIES")
# This one takes a second to make and 8 MiB to send.
_LARGE_ARCHIVE = "100,000 entries"


class PageAttack:
    """Hostile clients of one server."""

    def __init__(self, service: Service, studies: Sequence[GoodStudy]) -> None:
        """Stores its arguments.

        Args:
          service: The server.
          studies: Good studies, to damage.
        """
        self._service, self._studies = service, studies
        self._archives = {name: make for name, (make, _) in HOSTILE.items()}
        del self._archives[_LARGE_ARCHIVE]

    def actions(self) -> Mapping[str, Action]:
        """Kind -> action."""
        return {
            "page attack: damaged DICOM": Action(self.damaged_files, 3),
            "page attack: hostile archive": Action(self.archive, 3),
            "page attack: wrong token": Action(self.token, 1),
            "page attack: unknown ids": Action(self.unknown, 1),
            "page attack: oversized body": Action(self.oversized, 1),
            "page attack: hangs up in a body": Action(self.hangs_up, 2),
            "page attack: hangs up at an answer": Action(self.hangs_up_late, 1),
            "page attack: slow sender": Action(self.slow, 0.5),
            "page attack: bad form": Action(self.form, 2),
            "page attack: random bytes": Action(self.noise, 1),
            "page attack: deletes at once": Action(self.deletes, 1),
            "page attack: upload without end": Action(self.open_upload, 0.5),
            "page attack: foreign page": Action(self.foreign, 1),
        }

    def damaged_files(self, random: Random) -> str:
        """A few files with flipped, cut and forged bytes."""
        others = [self._studies[0].files[0], self._studies[1].files[0]]
        study = self._studies[random.integers(len(self._studies))]
        chosen = random.choice(len(study.files), size=3, replace=False)
        files = [("files", (f"{n}.dcm", damaged(study.files[n], others, random))) for n in chosen]
        return self._ends(files)

    def archive(self, random: Random) -> str:
        """An archive that climbs, lies or grows."""
        name = sorted(self._archives)[random.integers(len(self._archives))]
        return self._ends([("files", ("a.zip", self._archives[name]()))])

    def token(self, random: Random) -> str:
        """No token, a wrong one, one that is no text."""
        tokens = (None, "Bearer x", f"Bearer {TOKEN}x", TOKEN, "Bearer \xff\xfe", "Basic Zm9v")
        given = tokens[random.integers(len(tokens))]
        headers = {} if given is None else {b"authorization": given.encode("latin-1")}
        for method, path in (
            ("GET", "/api/studies/x"),
            ("POST", "/api/studies"),
            ("GET", "/metrics"),
        ):
            status = httpx.request(
                method, self._service.url + path, headers=headers, timeout=120, trust_env=False
            ).status_code
            expect(status == 401, f"{method} {path} with {given!r}: {status}")
        return "401"

    def unknown(self, random: Random) -> str:
        """Studies, slices, pages and numbers that there are none of."""
        key = random.bytes(18).hex()
        expected = {
            f"/api/studies/{key}": (404,),
            f"/api/studies/{key}/results.json": (404,),
            f"/api/studies/{key}/series/0/slices/0/pixels": (404,),
            f"/api/studies/{key}/series/x/slices/0/pixels": (422,),
            f"/api/studies/{key}/series/0/slices/-1/heatmaps/any": (422,),
            f"/api/studies/{key}/series/{10**30}/report.dcm": (404, 422),
            f"/{key}": (404,),
            "/..%2f..%2fetc%2fpasswd": (404,),
            "/%00": (400, 404),
            "/api/samples/none": (404, 405),
        }
        with self._service.client() as client:
            for path, statuses in expected.items():
                status = client.get(path).status_code
                expect(status in statuses, f"GET {path}: {status}")
            status = client.delete(f"/api/studies/{key}").status_code
            expect(status == 404, f"DELETE of an unknown study: {status}")
        return "404"

    def oversized(self, random: Random) -> str:
        """A length beyond the limit; and a body beyond it whose length is not said."""
        port = self._service.port
        fields = {"Authorization": _AUTHORIZATION, "Content_Type": _FORM}
        if random.integers(2):
            said = head("POST", "/api/studies", Content_Length=str(10**9), **fields)
            status = exchange(port, said + b"\r\n", b"x" * 1000)
        else:
            said = head("POST", "/api/studies", Transfer_Encoding="chunked", **fields)
            piece = b"%x\r\n%s\r\n" % (2**20, bytes(2**20))
            begin = _part_head()
            pieces = [said + b"\r\n%x\r\n%s\r\n" % (len(begin), begin), *[piece] * 10]
            status = exchange(port, *pieces, b"0\r\n\r\n")
        expect(status == 413, f"a body that is too large: {status}")
        return "413"

    def hangs_up(self, random: Random) -> str:
        """A client that goes away within its body."""
        said = head(
            "POST", "/api/studies",
            Authorization=_AUTHORIZATION, Content_Type=_FORM, Content_Length="2000000",
        )  # fmt: skip
        body = _part_head() + random.bytes(int(random.integers(0, 500_000)))
        abruptly = bool(random.integers(2))
        hang_up(self._service.port, said + b"\r\n", body, abruptly=abruptly)
        return "gone"

    def hangs_up_late(self, random: Random) -> str:
        """A client that asks, and does not wait for the answer."""
        for path in ("/api/docs", "/metrics", "/"):
            said = head("GET", path, Authorization=_AUTHORIZATION)
            hang_up(self._service.port, said + b"\r\n", abruptly=bool(random.integers(2)))
        return "gone"

    def slow(self, random: Random) -> str:
        """A byte a second of a header, which is cut off; or silence."""
        text = head("GET", "/healthz")
        pieces = [text[n : n + 1] for n in range(6)] if random.integers(2) else [b""]
        status = exchange(self._service.port, *pieces, pause=1.0, seconds=60)
        expect(status in (0, 400, 408), f"a slow header: {status}")
        return "cut"

    def form(self, random: Random) -> str:
        """Bodies that are no upload."""
        bodies: list[tuple[str, bytes]] = [
            ("application/json", b"{}"),
            ("multipart/form-data", b"x"),
            (_FORM, b"x"),
            (_FORM, random.bytes(3000)),
            (_FORM, _part_head() + b"x"),
            (_FORM, f"--{_BOUNDARY}--\r\n".encode()),
            (_FORM, _part_head(b"other") + f"x\r\n--{_BOUNDARY}--\r\n".encode()),
            (_FORM, f"--{_BOUNDARY}\r\n".encode() + b"a: " + b"b" * 20000),
        ]
        kind, body = bodies[random.integers(len(bodies))]
        with self._service.client() as client:
            headers = {"content-type": kind}
            answer = client.post("/api/studies", content=body, headers=headers)
        expect(answer.status_code in (400, 503), f"{kind} {body[:30]!r}: {answer.status_code}")
        return str(answer.status_code)

    def noise(self, random: Random) -> str:
        """Bytes that are no HTTP, and heads that are too long."""
        many = b"".join(b"X-%d: y\r\n" % n for n in range(5000))
        pieces = (
            random.bytes(500) + b"\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.bytes(500),
            head("GET", "/" + "a" * 100_000) + b"\r\n",
            head("GET", "/healthz") + many + b"\r\n",
            head("POST", "/api/studies", Content_Length="-1") + b"\r\n",
            head("POST", "/api/studies", Transfer_Encoding="chunked") + b"\r\nzz\r\n",
        )
        status = exchange(self._service.port, pieces[random.integers(len(pieces))], seconds=60)
        # Both long heads may be within what h11 takes: then the page is there, or is not.
        expect(status in (0, 200, 400, 401, 404, 414, 431), f"noise: {status}")
        return str(status or "closed")

    def deletes(self, random: Random) -> str:
        """A study that is deleted while it is worked on, and once more."""
        study = self._studies[random.integers(len(self._studies))]
        with self._service.client() as client:
            files = [("files", upload) for upload in study.uploads]
            key = _post(client, "/api/studies", files).json()["study_id"]
            time.sleep(float(random.uniform(0, 0.3)))
            statuses = [client.delete(f"/api/studies/{key}").status_code for _ in range(2)]
            expect(statuses == [204, 404], f"DELETE twice: {statuses}")
        return "204, 404"

    def open_upload(self, random: Random) -> str:
        """An upload whose next part never comes."""
        study = self._studies[random.integers(len(self._studies))]
        with self._service.client() as client:
            _post(client, "/api/studies?more=true", [("files", study.uploads[0])])
        return "202, dropped later"

    def foreign(self, random: Random) -> str:
        """A page of another site, and methods that there are none of."""
        with self._service.client() as client:
            origin = {"origin": "https://elsewhere.example"}
            status = client.post("/api/studies", headers=origin).status_code
            expect(status == 403, f"a foreign origin: {status}")
            status = client.request("PUT", "/api/studies").status_code
            expect(status == 405, f"PUT: {status}")
            status = client.request("SPAM", "/api/model").status_code
            expect(status == 405, f"SPAM: {status}")
            status = client.get("/api/studies").status_code
            expect(status == 403, f"a list that is not given: {status}")
        return "403, 405"

    def _ends(self, files: list[tuple[str, tuple[str, bytes]]]) -> str:
        """Sends files that may be refused at once, or end in a study with or without slices."""
        with self._service.client() as client:
            answer = client.post("/api/studies", files=files)
            status = answer.status_code
            if status != 202:
                expect(status in (413, 503), f"POST: {status} {answer.text[:200]}")
                return str(status)
            found = _wait(client, answer.json()["study_id"])
            if found["state"] == "failed":
                code = found["error"]["code"]
                expect(code in _FAILED, f"the study failed: {found['error']}")
                return f"202, {code}"
            return "202, done"


def _part_head(field: bytes = b"files") -> bytes:
    return b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="a.dcm"\r\n\r\n' % (
        _BOUNDARY.encode(),
        field,
    )
