"""Which mask belongs to which slice or series: by names, and by what a mask refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from ich_tf.conversion.mask_files import MASK_TABLE, mask_rejection
from ich_tf.conversion.mask_tasks import FoundMask
from ich_tf.conversion.series_planes import SeriesPlanes
from ich_tf.conversion.slice_index import IndexedSlice, SliceIndex
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.nifti_names import without_nifti_extension
from ich_tf.dicom.reasons import Rejection
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.runtime.csv_files import named_rows, open_csv
from ich_tf.runtime.csv_lines import CsvError
from ich_tf.runtime.names import printable

_FILE, _SERIES = "file", "series"
_Series = tuple[tuple[str, str, str], list[IndexedSlice]]


@dataclass(frozen=True)
class SliceMatches:
    """Which masks name which slices.

    Attributes:
      slices: Slices of each mask that has any.
      seconds: Masks of a slice that has a better one already, and that one.
      namesakes: Masks without a slice whose name other masks have, too.
    """

    slices: Mapping[str, list[IndexedSlice]]
    seconds: Mapping[str, str]
    namesakes: frozenset[str]

    def error(self, name: str) -> MaskError:
        """Why a mask without one slice of its own is not used."""
        members = self.slices.get(name, ())
        if members:
            message = f"has the name of {len(members)} slices; expected a path that names one."
        elif name in self.seconds:
            message = f"is a second mask of a slice, which has {printable(self.seconds[name])}."
        elif name in self.namesakes:
            message = "shares its name with other masks; expected the path of its slice."
        else:
            return _unused()
        return MaskError(MaskReason.MASK_UNUSED, message)


def match_slices(names: Sequence[str], slices: SliceIndex, listing: SourceListing) -> SliceMatches:
    """The slices that masks name, by path within the source, image id, SOP UID or file's name.

    Args:
      names: Paths of the masks within their folder, sorted.
      slices: Index of the slices.
      listing: DICOM files.
    """
    files = _by_stem(names)
    matches: dict[str, list[IndexedSlice]] = {}
    seconds: dict[str, str] = {}
    for _, members in slices.by_series() if files else ():
        for slice_ in members:
            stems = _slice_stems(slice_, listing)
            found = [files[stem] for stem in stems if stem in files]
            if found:
                matches.setdefault(found[0], []).append(slice_)
                seconds |= {name: found[0] for name in found[1:] if name != found[0]}
    used = set(files.values())
    namesakes = {name for name in names if _stem(name).rpartition("/")[2] not in files}
    namesakes |= set(names) - used
    return SliceMatches(matches, seconds, frozenset(namesakes))


def match_series(
    masks: Sequence[FoundMask],
    slices: SliceIndex,
    listing: SourceListing,
    table: dict[str, list[str]],
) -> tuple[dict[str, list[SeriesPlanes]], list[Rejection]]:
    """The series that masks may belong to.

    Those of a mask in DICOM are the ones that it refers to. Another mask names a series, a study, a
    patient with one study, or a folder or file of the series.

    Args:
      masks: Masks with a geometry.
      slices: Index of the slices.
      listing: DICOM files.
      table: Names of the series of each mask, as of `read_table`.

    Returns:
      The series of each mask that has any, of one study; and the masks that are not used.
    """
    by_name: dict[str, list[str]] = {}
    by_instance: dict[str, list[str]] = {}
    for mask in masks:
        references = mask.references
        if mask.name in table or references is None:
            for key in table.get(mask.name, [_stem(mask.name).rpartition("/")[2]]):
                by_name.setdefault(key, []).append(mask.name)
        else:
            for key in references.instance_ids or references.series_ids:
                by_instance.setdefault(key, []).append(mask.name)
            if not references.refers:
                by_name.setdefault(references.study_id, []).append(mask.name)
    matches: dict[str, list[SeriesPlanes]] = {}
    for series, names in _named_series(slices.by_series(), listing) if masks else ():
        found = {name for key in names for name in by_name.get(key, ())}
        instances = {image_id.split("/")[0] for image_id in series.image_ids}
        for key in (*instances, series.series_id) if by_instance else ():
            found.update(by_instance.get(key, ()))
        for name in found:
            matches.setdefault(name, []).append(series)
    rejections = []
    for mask in masks:
        studies = {(one.patient_id, one.study_id) for one in matches.get(mask.name, ())}
        if len(studies) == 1:
            continue
        matches.pop(mask.name, None)
        if studies:
            error = MaskError(
                MaskReason.MASK_UNUSED,
                f"is the name of series of {len(studies)} studies; name one in {MASK_TABLE}.",
            )
        elif mask.references is not None and mask.name not in table:
            error = MaskError(
                MaskReason.MASK_OTHER_SERIES,
                "refers to images that are not among those of this conversion."
                if mask.references.refers
                else "refers to no images, and its study is none of this conversion; name a "
                f"series in {MASK_TABLE}.",
            )
        else:
            error = _unused()
        rejections.append(mask_rejection(mask.name, error))
    return matches, rejections


def _unused() -> MaskError:
    return MaskError(
        MaskReason.MASK_UNUSED, "has the name of no slice and no series of this conversion."
    )


def read_table(folder: Path, masks: Sequence[str]) -> tuple[dict[str, list[str]], list[Rejection]]:
    """Reads masks.csv: a mask's path within its folder, and the series, study or patient it is of.

    Args:
      folder: Folder of the masks.
      masks: Paths of the masks with a geometry within it.

    Returns:
      Names of each mask, and the line of quarantine.jsonl for rows of other files; both empty
      without the table.

    Raises:
      InputError: If it is no table with the columns file and series.
    """
    path = folder / MASK_TABLE
    if not path.exists():
        return {}, []
    known = {without_nifti_extension(printable(name)): name for name in masks}
    names: dict[str, list[str]] = {}
    others: list[int] = []
    try:
        with open_csv(path) as text:
            for line, values in named_rows(text, (_FILE, _SERIES)):
                if not values[_FILE] or not values[_SERIES]:
                    raise CsvError(f"line {line} has no file or no series; expected both.")
                file = without_nifti_extension(values[_FILE].replace("\\", "/"))
                if file in known:
                    names.setdefault(known[file], []).append(values[_SERIES])
                else:
                    others.append(line)
    except (CsvError, OSError) as error:
        message = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{path}: {message} Expected a CSV with the columns file,series: the path of a mask "
            "within --masks_dir, and the UID of its series or study, or its PatientID."
        ) from error
    if not others:
        return names, []
    return names, [
        mask_rejection(
            MASK_TABLE,
            MaskError(
                MaskReason.MASK_UNUSED,
                f"names {len(others)} files that are not there or are PNGs, the first in line "
                f"{others[0]}; expected paths of NIfTI, SEG or RTSTRUCT files.",
            ),
        )
    ]


def _named_series(
    all_series: Iterable[_Series], listing: SourceListing
) -> Iterator[tuple[SeriesPlanes, set[str]]]:
    """Series, and the names by which a mask may call each."""
    for _, group in groupby(all_series, key=lambda series: series[0][0]):
        of_patient = list(group)
        num_studies = len({ids[1] for ids, _ in of_patient})
        for ids, members in of_patient:
            series = SeriesPlanes.of(members, listing)
            names = {ids[1], series.series_id}
            if num_studies == 1:
                names |= {ids[0], series.patient_id}
            files = {listing.within(slice_.name) for slice_ in members}
            folders = {PurePosixPath(file).parent for file in files}
            if len(folders) == 1:
                names |= {next(iter(folders)).name}
            if len(files) == 1:
                names |= {_stem(next(iter(files))).rpartition("/")[2]}
            yield series, names - {""}


def _by_stem(names: Sequence[str]) -> dict[str, str]:
    """Paths of masks by path without extension, and by name alone where only one has it."""
    paths = {_stem(name): name for name in reversed(names)}
    groups: dict[str, list[str]] = {}
    for stem, name in paths.items():
        groups.setdefault(stem.rpartition("/")[2], []).append(name)
    return {**{stem: group[0] for stem, group in groups.items() if len(group) == 1}, **paths}


def _stem(name: str) -> str:
    """Path without extension; digits are none, since they end a UID."""
    stem = without_nifti_extension(name)
    suffix = PurePosixPath(stem).suffix
    return stem if stem != name or suffix[1:].isdecimal() else stem.removesuffix(suffix)


def _slice_stems(slice_: IndexedSlice, listing: SourceListing) -> list[str]:
    """Stems that the mask of a slice may have, the surest first."""
    within = listing.within(slice_.name)
    frame = f"_{slice_.header.frame}" if slice_.header.frame else ""
    stem = f"{Source(listing.root, within).stem}{frame}"
    ids = slice_.image_id, slice_.header.image_id
    path = str(PurePosixPath(within).with_name(stem))
    return [path, *(name.replace("/", "_") for name in ids), stem]
