"""What hostile and broken senders do to the gateway, and how they are refused."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Mapping, Sequence

from pydicom.uid import UID

from tools.fuzzing.damage import damaged
from tools.soaking.load_gateway import (
    SECONDARY_CAPTURE,
    GatewayLoad,
    associated,
    multipart,
    store,
)
from tools.soaking.pacing import Action, Random
from tools.soaking.raw_http import exchange, hang_up, head
from tools.soaking.services import TOKEN, Service
from tools.soaking.studies import GoodStudy, as_file
from tools.soaking.tally import expect

_PATH = "/dicom-web/studies"
_AUTHORIZATION = f"Bearer {TOKEN}"


class GatewayAttack:
    """Hostile senders of one gateway."""

    def __init__(self, service: Service, studies: Sequence[GoodStudy], load: GatewayLoad) -> None:
        """Stores its arguments.

        Args:
          service: The gateway.
          studies: Good studies, to damage.
          load: Gives the ids of further studies.
        """
        self._service, self._studies, self._load = service, studies, load

    def actions(self) -> Mapping[str, Action]:
        """Kind -> action."""
        return {
            "gateway attack: damaged by STOW-RS": Action(self.damaged_files, 2),
            "gateway attack: objects without ids": Action(self.no_ids, 1),
            "gateway attack: no CT": Action(self.no_ct, 1),
            "gateway attack: wrong titles": Action(self.titles, 1),
            "gateway attack: cut within a message": Action(self.cut, 2),
            "gateway attack: random bytes": Action(self.noise, 2),
            "gateway attack: silence": Action(self.silence, 0.3),
            "gateway attack: other requests": Action(self.find, 1),
            "gateway attack: bad bodies": Action(self.bodies, 2),
            "gateway attack: hangs up in a body": Action(self.hangs_up, 1),
            "gateway attack: wrong token": Action(self.token, 1),
            "gateway attack: unknown pages": Action(self.unknown, 1),
        }

    def damaged_files(self, random: Random) -> str:
        """Images with flipped, cut and forged bytes, beside good ones of another study."""
        key, study = self._load.drawn(random)
        good = [as_file(image) for image in study.renewed(key)[:3]]
        files = [damaged(data, good, random) for data in good]
        body, kind = multipart(files)
        with self._service.client() as client:
            answer = client.post(_PATH, content=body, headers={"content-type": kind})
        expect(answer.status_code in (200, 202, 400, 409), f"STOW-RS: {answer.status_code}")
        return str(answer.status_code)

    def no_ids(self, random: Random) -> str:
        """An image without the UID of its study."""
        key, study = self._load.drawn(random)
        image = study.renewed(key)[0]
        del image.StudyInstanceUID
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            status = store(association, image)
        expect(status == 0xC000, f"C-STORE without ids: {status:04X}")
        return "C000"

    def no_ct(self, random: Random) -> str:
        """An object of another class."""
        key, study = self._load.drawn(random)
        image = study.renewed(key)[0]
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
        image.Modality = "OT"
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            status = store(association, image)
        expect(status == 0x0122, f"C-STORE of another class: {status:04X}")
        return "0122"

    def titles(self, random: Random) -> str:
        """Titles that may not call, and that are not the gateway's."""
        for calling, called in (("STRANGER", "ICH_TF"), ("SCANNER", "OTHER"), ("A" * 16, "B" * 16)):
            with associated(self._service, calling, called) as association:
                expect(association.is_rejected, f"{calling} to {called} is not rejected")
        return "rejected"

    def cut(self, random: Random) -> str:
        """A connection that ends within an image, with or without a reset."""
        key, study = self._load.drawn(random)
        image = study.renewed(key)[0]
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            wire = association.dul.socket
            assert wire is not None and wire.socket is not None
            # The head of a P-DATA message of 60,000 bytes, and a few of them.
            piece = struct.pack(">BBLLBB", 4, 0, 60_000, 59_996, 1, 0) + as_file(image)[:500]
            with contextlib.suppress(OSError):
                wire.socket.sendall(piece)
                if random.integers(2):
                    linger = struct.pack("ii", 1, 0)
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                wire.socket.shutdown(socket.SHUT_RDWR)
            association.abort()
        return "cut"

    def noise(self, random: Random) -> str:
        """Bytes that are no DIMSE, and messages with forged lengths."""
        pieces = (
            random.bytes(300),
            b"GET / HTTP/1.1\r\n\r\n",
            struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + random.bytes(100),
            struct.pack(">BBL", 1, 0, 100) + random.bytes(100),
            struct.pack(">BBL", 4, 0, 8) + random.bytes(8),
            struct.pack(">BBL", 7, 0, 4) + bytes(4),
            b"",
        )
        hang_up(
            self._service.dicom_port,
            pieces[random.integers(len(pieces))],
            abruptly=bool(random.integers(2)),
        )
        return "closed"

    def silence(self, random: Random) -> str:
        """A connection that says nothing is cut after limits.idle_seconds."""
        address = ("127.0.0.1", self._service.dicom_port)
        with socket.create_connection(address, timeout=120) as connection:
            if random.integers(2):
                connection.sendall(struct.pack(">BBL", 1, 0, 500))
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):
                    pass
        return "cut"

    def find(self, random: Random) -> str:
        """A request that was not negotiated: the connection is cut."""
        with associated(self._service) as association:
            expect(association.is_established, "no association")
            message = bytes.fromhex("0400000000080000000401030000")
            wire = association.dul.socket
            assert wire is not None and wire.socket is not None
            with contextlib.suppress(OSError):
                wire.socket.sendall(message)
            time.sleep(0.2)
            association.abort()
        return "cut"

    def bodies(self, random: Random) -> str:
        """Bodies that are no STOW-RS, or too large."""
        good, kind = multipart([b"x"])
        cases = (
            ({"content-type": "application/json"}, b"{}", (415,)),
            ({"content-type": "multipart/related"}, b"x", (415,)),
            ({"content-type": kind}, b"x", (400,)),
            ({"content-type": kind}, random.bytes(3000), (400,)),
            ({"content-type": kind}, good, (409,)),
            ({"content-type": kind}, good[:-9], (400,)),
            ({"content-type": kind, "content-encoding": "gzip"}, good, (415,)),
            ({"content-type": kind}, b"--soak--\r\n", (400,)),
        )
        headers, body, statuses = cases[random.integers(len(cases))]
        with self._service.client() as client:
            status = client.post(_PATH, content=body, headers=headers).status_code
        expect(status in statuses, f"{headers} {body[:20]!r}: {status}, not {statuses}")
        said = head(
            "POST", _PATH, Authorization=_AUTHORIZATION, Content_Type=kind, Content_Length="10" * 5
        )
        large = exchange(self._service.port, said + b"\r\n", b"x" * 100)
        expect(large == 413, f"a body that is too large: {large}")
        return f"{status}, 413"

    def hangs_up(self, random: Random) -> str:
        """A client that goes away within its body."""
        key, study = self._load.drawn(random)
        body, kind = multipart([as_file(image) for image in study.renewed(key)[:4]])
        said = head(
            "POST", _PATH,
            Authorization=_AUTHORIZATION, Content_Type=kind, Content_Length=str(len(body)),
        )  # fmt: skip
        end = int(random.integers(1, len(body)))
        hang_up(self._service.port, said + b"\r\n", body[:end], abruptly=bool(random.integers(2)))
        return "gone"

    def token(self, random: Random) -> str:
        """No token, or a wrong one."""
        for path in (_PATH, "/api/worklist/1/retry"):
            said = head("POST", path, Content_Length="0", Authorization="Bearer x")
            status = exchange(self._service.port, said + b"\r\n")
            expect(status == 401, f"{path} with a wrong token: {status}")
        return "401"

    def unknown(self, random: Random) -> str:
        """Pages and studies that there are none of."""
        with self._service.client() as client:
            for method, path, expected in (
                ("GET", f"/{random.bytes(8).hex()}", 404),
                ("GET", "/shared/..%2fapi.py", 404),
                ("POST", "/api/worklist/999999/retry", 404),
                ("POST", f"/api/worklist/{10**30}/retry", 422),
                ("GET", "/api/worklist?hours=nan", 422),
                ("DELETE", "/api/worklist", 405),
            ):
                status = client.request(method, path).status_code
                expect(status == expected, f"{method} {path}: {status}, not {expected}")
        return "404, 405, 422"
