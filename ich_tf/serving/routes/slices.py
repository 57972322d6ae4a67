"""Routes of a slice: pixels, masks and heat maps."""

from __future__ import annotations

import gzip

import anyio
import numpy as np
from fastapi import APIRouter, Request, Response

from ich_tf.labels import CLASSES
from ich_tf.serving import study_answers
from ich_tf.serving.analysis import slice_hu
from ich_tf.serving.dicom_report import heat_map_picture
from ich_tf.serving.errors import Refused
from ich_tf.serving.heat_map_cache import GZIP_LEVEL
from ich_tf.serving.routes.described import HEAT_MAP, IMAGE, RETRY_AFTER, errors
from ich_tf.serving.routes.parameters import (
    BYTES,
    DICOM,
    PNG,
    SeriesIndex,
    SliceIndex,
    State,
    download,
    packed_image,
)
from ich_tf.serving.slice_masks import mask_path

router = APIRouter(prefix="/api/studies/{study_id}/series/{series}/slices/{number}")


@router.get(
    "/pixels",
    response_class=Response,
    responses={
        200: {"content": BYTES, "description": "int16 [rows, columns]", "headers": IMAGE},
        **errors(404, 409, 422),
    },
)
async def get_pixels(
    request: Request, study_id: str, series: SeriesIndex, number: SliceIndex, state: State
) -> Response:
    """Returns Hounsfield units: little-endian int16 [X-Rows, X-Columns].

    Compressed by gzip for clients whose Accept-Encoding has it.
    """
    study, predicted = state.find_series(study_id, series, number)
    slice_ = predicted.slices[number]

    def read() -> bytes:
        hu = slice_hu(state.studies.folder(study), slice_)
        stored = np.rint(np.clip(hu, -32768, 32767)).astype("<i2")
        return gzip.compress(stored.tobytes(), GZIP_LEVEL)

    return packed_image(request, await state.run_large(read), slice_.rows, slice_.columns)


@router.get(
    "/mask.png",
    response_class=Response,
    responses={
        200: {"content": PNG, "description": "A mask, a bit a class"},
        **errors(404, 409, 422),
    },
)
async def get_mask(
    study_id: str, series: SeriesIndex, number: SliceIndex, state: State
) -> Response:
    """Returns where the model marks bleeds: a grey PNG of the slice's size, 8 bits.

    Bit k of a pixel marks class k of `Model.classes`; `any` is marked wherever a subtype is. Of a
    model without masks the answer is 404.
    """
    study, predicted = state.find_series(study_id, series, number)
    if not predicted.areas_mm2:
        raise Refused(
            404,
            "NO_MASK",
            "the model that predicted this study gives no masks; expected one that was trained "
            "with --segmentation.",
        )
    path = mask_path(state.studies.folder(study) / predicted.slices[number].name)
    return Response(await state.run_large(path.read_bytes), media_type="image/png")


# Before the route of the bare heat map, whose `name` would match this path as well.
@router.get(
    "/heatmaps/{name}.dcm",
    response_class=Response,
    responses={
        200: {"content": DICOM, "description": "A secondary capture"},
        **errors(404, 409, 422, 503, headers=RETRY_AFTER),
    },
)
async def get_picture(
    study_id: str, series: SeriesIndex, number: SliceIndex, name: str, state: State
) -> Response:
    """Returns a slice under its heat map, a DICOM secondary capture with ids of its own."""
    _check_class(name)
    study, predicted = state.find_series(study_id, series, number)
    folder, model = state.studies.folder(study), study_answers.study_model(study)
    heat = await anyio.to_thread.run_sync(state.pipeline.heat_map, study, series, number, name)

    def draw() -> bytes:
        return heat_map_picture(
            *(study_id, series, number, predicted, model),
            *(lambda slice_: slice_hu(folder, slice_), heat.unpacked(), name, heat.caption),
        )

    return download(await state.run_large(draw), f"heat-map-{series}-{number}-{name}.dcm")


@router.get(
    "/heatmaps/{name}",
    response_class=Response,
    responses={
        200: {"content": BYTES, "description": "uint8 [rows, columns]", "headers": HEAT_MAP},
        **errors(404, 409, 422, 503, headers=RETRY_AFTER),
    },
)
async def get_heat_map(
    request: Request,
    study_id: str,
    series: SeriesIndex,
    number: SliceIndex,
    name: str,
    state: State,
) -> Response:
    """Returns a class's heat map: uint8 [X-Rows, X-Columns], by gzip as pixels are.

    A value of 255 is a logit of X-Peak or more, the same for all slices of a model; X-Greatest is
    the greatest logit of this slice. X-Explains says which probability the map explains.
    """
    _check_class(name)
    study, _ = state.find_series(study_id, series, number)
    heat = await anyio.to_thread.run_sync(state.pipeline.heat_map, study, series, number, name)
    answer = packed_image(request, heat.packed, heat.rows, heat.columns)
    answer.headers["x-peak"] = repr(heat.scale)
    answer.headers["x-greatest"] = repr(heat.greatest)
    answer.headers["x-explains"] = heat.caption
    return answer


def _check_class(name: str) -> None:
    if name not in CLASSES:
        raise Refused(404, "NO_CLASS", f"no such class; expected one of {', '.join(CLASSES)}.")
