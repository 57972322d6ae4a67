"""Studies by STOW-RS (PS3.18 10.5): multipart/related of DICOM files, to /dicom-web/studies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.ids import read_ids
from ich_tf.gateway.limits import Meter
from ich_tf.gateway.multipart import DicomParts, NotMultipart
from ich_tf.gateway.ports import Inbox, Refused
from ich_tf.gateway.spool import SpoolFile
from ich_tf.runtime.rationed_log import RationedLog
from ich_tf.serving import errors

_RATIONED = RationedLog(logging.getLogger(__name__))

_PATH = "/dicom-web/studies"
_JSON = "application/dicom+json"
# FailureReason by reason (10.5.3.2, PS3.4 B.2.3); others are out of resources.
_FAILURE_REASONS = {"NOT_DICOM": 0xC000, "NO_IDS": 0xC000, "NOT_CT": 0x0122}
_OUT_OF_RESOURCES = 0xA700
_RETRY_SECONDS = 30
# A sender that is slower on the average, after limits.idle_seconds, holds a place for nothing.
_LEAST_BYTES_PER_SECOND = 4096


class _Instances:
    """What became of the instances of one body."""

    def __init__(self, study_uid: str, most: int) -> None:
        """Starts without any.

        Args:
          study_uid: StudyInstanceUID that all of them need; empty for any.
          most: Most instances of a body.
        """
        self._study_uid, self._most = study_uid, most
        self._stored: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []
        self._unnamed: list[dict[str, Any]] = []
        self._may_be_sent_again = False

    def take(self, file: SpoolFile) -> None:
        """Gives a file to the inbox, and remembers what it said."""
        if self._num >= self._most:
            file.discard()
            raise errors.Refused(
                413,
                "TOO_MANY_INSTANCES",
                f"the body has more than limits.study_instances = {self._most} instances; send "
                "one study at a time.",
            )
        names: dict[str, Any] = {}
        try:
            file.close()
            if file.refused is None:
                ids = read_ids(file.path)
                names = {"00081150": _uid(ids.sop_class), "00081155": _uid(ids.sop_uid)}
                if self._study_uid not in ("", ids.study_uid):
                    raise Refused("NO_IDS", "an instance is of another study than the address.")
            file.accept()
        except Refused as error:
            _RATIONED.warning("stow: a file refused: %s", error.text)
            code = _FAILURE_REASONS.get(error.reason, _OUT_OF_RESOURCES)
            reason = {"00081197": {"vr": "US", "Value": [code]}}
            (self._failed if names else self._unnamed).append({**names, **reason})
            self._may_be_sent_again |= error.may_be_sent_again
        else:
            self._stored.append({**names, "00081190": {"vr": "UR"}})
        finally:
            file.discard()

    def response(self) -> Response:
        """The answer (10.5.3): 200 all, 202 some, 409 none; 503 none now, but perhaps later."""
        if not self._num:
            raise errors.Refused(400, "NO_FILES", "the body has no part; send DICOM files.")
        if self._stored:
            status = 200 if self._num == len(self._stored) else 202
        else:
            status = 503 if self._may_be_sent_again else 409
        lists = {"00081199": self._stored, "00081198": self._failed, "0008119A": self._unnamed}
        body = {key: {"vr": "SQ", "Value": items} for key, items in lists.items() if items}
        headers = {"retry-after": str(_RETRY_SECONDS)} if status == 503 else {}
        content = {"00081190": {"vr": "UR"}, **body}
        return JSONResponse(content, status, headers, media_type=_JSON)

    @property
    def _num(self) -> int:
        return len(self._stored) + len(self._failed) + len(self._unnamed)


class _Store:
    """The endpoint: limits of all bodies together."""

    def __init__(self, config: GatewayConfig, inbox: Inbox) -> None:
        self._limits, self._inbox = config.limits, inbox
        self._num_bodies = 0

    async def answer(self, request: Request) -> Response:
        """Takes the instances of a body."""
        if self._num_bodies >= self._limits.associations:
            raise errors.Refused(
                503, "BUSY", "too many bodies come at once; send it again later.", _RETRY_SECONDS
            )
        self._num_bodies += 1
        try:
            return await self._take(request, request.stream())
        except errors.Refused as refused:
            _RATIONED.warning("stow: a body refused: %s", refused.message)
            raise
        except ClientDisconnect:
            raise errors.Refused(400, "GONE", "the client went away.") from None
        finally:
            self._num_bodies -= 1

    async def _take(self, request: Request, body: AsyncIterator[bytes]) -> Response:
        limits, headers = self._limits, request.headers
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.num_bytes("association_mb"):
            raise errors.Refused(413, "TOO_LARGE", _too_large(limits.association_mb))
        if headers.get("content-encoding", "identity") != "identity":
            raise errors.Refused(415, "ENCODED", "the body is encoded; send it as it is.")
        instances = _Instances(request.path_params.get("study", ""), limits.study_instances)
        try:
            parts = DicomParts(headers.get("content-type", ""), self._new_file, instances.take)
        except NotMultipart as error:
            raise errors.Refused(415, "NOT_MULTIPART", f"{error}") from error
        try:
            await self._write(body, parts)
        finally:
            parts.discard()
        return instances.response()

    async def _write(self, body: AsyncIterator[bytes], parts: DicomParts) -> None:
        limits, meter, begun = self._limits, Meter(self._limits), time.monotonic()
        try:
            while piece := await asyncio.wait_for(_next(body), limits.idle_seconds):
                meter.took(len(piece))
                seconds = time.monotonic() - begun - limits.idle_seconds
                if meter.overdue() or meter.num_bytes < _LEAST_BYTES_PER_SECOND * seconds:
                    raise TimeoutError
                # Each file that is complete is written to the disk, and noted in the queue.
                await asyncio.to_thread(parts.write, piece)
            parts.finish()
        except (TimeoutError, asyncio.TimeoutError) as error:  # two until Python 3.11
            raise errors.Refused(
                408,
                "TOO_SLOW",
                f"nothing came for limits.idle_seconds = {limits.idle_seconds:g} s, or too little, "
                f"or not all within limits.association_minutes = {limits.association_minutes:g}.",
            ) from error
        except Refused as error:
            raise errors.Refused(413, "TOO_LARGE", _too_large(limits.association_mb)) from error
        except NotMultipart as error:
            raise errors.Refused(400, "BAD_MULTIPART", f"{error}") from error

    def _new_file(self) -> SpoolFile:
        return SpoolFile(self._inbox, self._limits, "stow")


def stow_routes(config: GatewayConfig, inbox: Inbox) -> list[Route]:
    """Makes the routes of STOW-RS; none where `[stow]` is not enabled.

    Whoever serves them asks for the token, answers `serving.errors.Refused`, and reads the rest of
    a body that is refused.

    Args:
      config: Config of the gateway.
      inbox: Takes the files.
    """
    if not config.stow.enabled:
        return []
    store = _Store(config, inbox)
    return [
        Route(_PATH, store.answer, methods=["POST"]),
        Route(f"{_PATH}/{{study}}", store.answer, methods=["POST"]),
    ]


async def _next(body: AsyncIterator[bytes]) -> bytes:
    """The next piece of a body; empty at its end."""
    async for piece in body:
        if piece:
            return piece
    return b""


def _too_large(mib: int) -> str:
    return f"the body has more than limits.association_mb = {mib} MiB; send fewer files at once."


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}
