"""Origin of weights: the patients that they were trained on, through every run they started from.

A run notes its own patients and its ancestors in run.json: the run whose weights it started from,
the networks whose features it reads, and theirs. What weights were trained on counts as seen by
whatever follows from them. Patients are noted by hashes of their stored keys: those of several
conversions can be compared where the conversions store the same keys.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ich_tf.errors import InputError
from ich_tf.models.run_files import BEST_WEIGHTS, EPOCH_HASHES, EPOCHS, MODEL, RUN
from ich_tf.models.run_json import read_run
from ich_tf.models.shared_weights import read_card, weights_file
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import MOST_MODEL_JSON_BYTES, file_sha256, parse_json, read_text
from ich_tf.runtime.json_types import read_value

# In the run.json of a bundle that was made without the hashes of patients.
LEFT_OUT = "patients_left_out"
RUN_KIND, IMAGENET, RANDOM, UNKNOWN = "run", "imagenet", "random", "unknown"
_KINDS = (RUN_KIND, IMAGENET, RANDOM, UNKNOWN)
# 64 bits: among 100,000 patients two are alike with a probability of 3e-10.
_ID_DIGITS = 16
_SHOWN_DIGITS = 12
_MOST_DEPTH = 100
_RANDOM_TEXT = "random weights"
_COPY = "Copy it from where the model was trained."


@dataclass(frozen=True)
class Exposure:
    """What weights have seen of some patients.

    Attributes:
      trained: Hashed ids of those that they were trained on.
      chosen: Hashed ids of those by whom an epoch was chosen.
      is_known: Whether there are no others, as far as ids can tell.
    """

    trained: frozenset[str] = frozenset()
    chosen: frozenset[str] = frozenset()
    is_known: bool = True

    def __or__(self, other: Exposure) -> Exposure:
        return Exposure(
            self.trained | other.trained,
            self.chosen | other.chosen,
            self.is_known and other.is_known,
        )


@dataclass(frozen=True)
class Origin:
    """A run and what it started from, or weights that no run of this project made.

    Attributes:
      kind: `run`, `imagenet`, `random` or `unknown`.
      weights_sha256: SHA-256 of the weights file; empty where there is none.
      data_sha256: Hash of the run's slices (`Manifest.fingerprint`).
      validation_fold: Fold that the run was validated on; -1 for no run.
      folds: Name of a fold -> hashed ids of its patients; empty if the run did not note them.
      ancestors: What the run started from; of a model over series, the networks that it reads.
      gave_features: Whether the next run read features of it, and not its weights.
      patient_keys: Whence the patients' keys are (`Manifest.patient_keys`): those of another kind
        cannot be compared.
      title: Title of the weights' card (`shared_weights.WeightsCard`); empty without one.
      left_out: Whether the hashes of its and its ancestors' patients were left out of a bundle.
    """

    kind: str
    weights_sha256: str = ""
    data_sha256: str = ""
    validation_fold: int = -1
    folds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ancestors: tuple[Origin, ...] = ()
    gave_features: bool = False
    patient_keys: str = ""
    title: str = ""
    left_out: bool = False

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(_KINDS)}")

    @property
    def held_out(self) -> str:
        """Name of the fold that the run was validated on."""
        return fold_name(self.validation_fold)

    def exposure(
        self, patients: Iterable[str], split: str = "", patient_keys: str = ""
    ) -> Exposure:
        """What the run and all that it started from have seen; see `inherited_exposure`."""
        patients = frozenset(patients)
        own = self.own_exposure(patients, patient_keys)
        return own | self.inherited_exposure(patients, split, patient_keys)

    def own_exposure(self, patients: Iterable[str], patient_keys: str = "") -> Exposure:
        """What the run itself has seen of some patients, given as hashed ids of keys of a kind."""
        if self.kind in (IMAGENET, RANDOM):
            return Exposure()
        patients = frozenset(patients)
        trained = [ids for name, ids in self.folds.items() if name != self.held_out]
        return Exposure(
            patients.intersection(frozenset().union(*trained)),
            patients.intersection(self.folds.get(self.held_out, ())),
            is_known=self.kind == RUN_KIND
            and bool(self.folds)
            and self.patient_keys == patient_keys,
        )

    def inherited_exposure(
        self, patients: Iterable[str], split: str = "", patient_keys: str = ""
    ) -> Exposure:
        """What all that the run started from has seen of some patients.

        Features of a fold come from the network that was not trained on it: of the networks of a
        model over series, only that one counts for a fold of their own data.

        Args:
          patients: Hashed ids.
          split: Name of their split, if it is one of the run's own data.
          patient_keys: Whence their keys are (`Manifest.patient_keys`).
        """
        patients = frozenset(patients)
        counted = [
            ancestor
            for ancestor in self.ancestors
            if ancestor.gave_features
            and ancestor.data_sha256 == self.data_sha256
            and ancestor.held_out == split
        ] or self.ancestors
        exposure = Exposure()
        for ancestor in counted:
            exposure |= ancestor.exposure(patients, split, patient_keys)
        return exposure

    def started_from(self) -> list[str]:
        """Describes what the run started from; one text where several are alike."""
        if self.kind == UNKNOWN:
            return [self.describe()]
        texts = [ancestor.describe() for ancestor in self.ancestors]
        return [text for text in dict.fromkeys(texts) if text != _RANDOM_TEXT] or [_RANDOM_TEXT]

    def describe(self) -> str:
        """Describes the origin as the rest of a sentence, such as "random weights"."""
        if self.kind == RANDOM:
            return _RANDOM_TEXT
        if self.kind == IMAGENET:
            return "ImageNet weights of keras.applications"
        name = f" {self.weights_sha256[:_SHOWN_DIGITS]}" if self.weights_sha256 else ""
        name += f" ({self.title})" if self.title else ""
        if self.kind == UNKNOWN:
            return f"weights{name} of unknown origin: whom they were trained on is not known"
        number = sum(len(ids) for fold, ids in self.folds.items() if fold != self.held_out)
        trained = f"trained on {number} patients" if self.folds else "whose patients are not known"
        before = [text for text in self.started_from() if text != _RANDOM_TEXT]
        text = f"{'features of' if self.gave_features else 'weights'}{name} of a run {trained}"
        return f"{text} ({'; '.join(before)})" if before else text


def patient_id(key: str) -> str:
    """Hash of a patient's stored key, by which runs on several conversions are compared."""
    return hashlib.sha256(f"ich_tf patient {key}".encode()).hexdigest()[:_ID_DIGITS]


def patient_ids(keys: Iterable[str]) -> frozenset[str]:
    """Hashes of patients' stored keys."""
    return frozenset(map(patient_id, keys))


def origin_of_run(
    data_sha256: str,
    validation_fold: int,
    patients: Mapping[str, Iterable[str]],
    ancestors: Iterable[Origin],
    patient_keys: str = "",
) -> Origin:
    """Makes the origin of a run's own weights.

    Args:
      data_sha256: Hash of its slices.
      validation_fold: Fold that it is validated on.
      patients: Split -> stored keys of its patients; the test patients are left out.
      ancestors: What it starts from.
      patient_keys: Whence the keys are (`Manifest.patient_keys`).
    """
    folds = {
        split: patient_ids(keys) for split, keys in patients.items() if split.startswith("fold-")
    }
    return Origin(
        RUN_KIND,
        data_sha256=data_sha256,
        validation_fold=validation_fold,
        folds=folds,
        ancestors=tuple(ancestors),
        patient_keys=patient_keys,
    )


def origin_of_weights(weights: str) -> Origin:
    """Finds whence initial weights come.

    The weights of a run are known by run.json and model.json beside them, which holds their
    SHA-256: a file that was moved away from them is of unknown origin.

    Args:
      weights: `none`, `imagenet`, or the path of a file or its folder.

    Raises:
      InputError: If a folder has no weights, or others than its card says.
    """
    if weights == "none":
        return Origin(RANDOM)
    if weights == IMAGENET:
        return Origin(IMAGENET)
    path = weights_file(weights)
    if not path.is_file():
        return Origin(UNKNOWN)
    sha256 = file_sha256(path)
    work_dir = path.parent.parent if path.parent.name == EPOCHS else path.parent
    if sha256 in _saved_hashes(path, work_dir):
        try:
            title = _title_of(path, sha256)
            return replace(read_origin(work_dir), weights_sha256=sha256, title=title)
        except InputError:
            return Origin(UNKNOWN, sha256)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return Origin(IMAGENET if md5 in _imagenet_hashes() else UNKNOWN, sha256)


def read_origin(work_dir: str | Path) -> Origin:
    """Reads the origin of a run's weights from its run.json.

    A run of an earlier version did not note its patients: `folds` is empty then, and whatever it
    started from is unknown.

    Raises:
      InputError: If the file cannot be read.
    """
    content = read_run(work_dir, _COPY)
    try:
        data_sha256 = data_of(content["data"])
        if "ancestors" in content:
            ancestors = load_origins(content["patients"], content["ancestors"])
            (origin,) = load_origins(content["patients"], [content["origin"]])
            left_out = read_value(bool, content.get(LEFT_OUT, False), LEFT_OUT)
            return replace(origin, data_sha256=data_sha256, ancestors=ancestors, left_out=left_out)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{Path(work_dir) / RUN}: does not describe a run ({error!r}). {_COPY}"
        ) from error
    return Origin(RUN_KIND, data_sha256=data_sha256, ancestors=(Origin(UNKNOWN),))


def data_of(data: Mapping[str, Any]) -> str:
    """Hash of the slices of a run's data, also where it reads features of them."""
    sha256: str = data.get("slices_sha256", data["sha256"])
    return sha256


def dump_run(origin: Origin) -> dict[str, Any]:
    """Entries of run.json: the run itself, its ancestors, and the patients of all of them."""
    patients, ancestors = dump_origins(origin.ancestors)
    more, (own,) = dump_origins([replace(origin, ancestors=())])
    return {"origin": own, "ancestors": ancestors, "patients": {**patients, **more}}


def dump_origins(origins: Iterable[Origin]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Writes origins as JSON values.

    Returns:
      Hash of data -> fold -> hashed ids, once for all runs on these data; and the origins.
    """
    patients: dict[str, Any] = {}

    def entry(origin: Origin) -> dict[str, Any]:
        if origin.folds:
            patients[origin.data_sha256] = {
                fold: sorted(ids) for fold, ids in sorted(origin.folds.items())
            }
        return {
            "origin": origin.kind,
            "weights_sha256": origin.weights_sha256,
            "data_sha256": origin.data_sha256,
            "validation_fold": origin.validation_fold,
            "gave_features": origin.gave_features,
            "patient_keys": origin.patient_keys,
            "title": origin.title,
            "ancestors": [entry(ancestor) for ancestor in origin.ancestors],
        }

    entries = [entry(origin) for origin in origins]
    return patients, entries


@dataclass(frozen=True)
class _Entry:
    """An origin as `dump_origins` writes it."""

    origin: str
    weights_sha256: str
    data_sha256: str
    validation_fold: int
    gave_features: bool
    ancestors: tuple[Any, ...]
    patient_keys: str = ""
    title: str = ""


def load_origins(patients: Any, entries: Any) -> tuple[Origin, ...]:
    """Reads what `dump_origins` wrote.

    Args:
      patients: Hash of data -> fold -> hashed ids.
      entries: The origins.

    Raises:
      ValueError: If they are something else.
    """
    folds_of = read_value(dict[str, dict[str, frozenset[str]]], patients, "patients")

    def read(entries: Any, where: str, depth: int) -> tuple[Origin, ...]:
        if depth > _MOST_DEPTH:
            raise ValueError(f"a run that started from {_MOST_DEPTH} others, one after the other")
        return tuple(
            Origin(
                kind=entry.origin,
                weights_sha256=entry.weights_sha256,
                data_sha256=entry.data_sha256,
                validation_fold=entry.validation_fold,
                folds=folds_of.get(entry.data_sha256, {}),
                ancestors=read(entry.ancestors, f"{where}.ancestors", depth + 1),
                gave_features=entry.gave_features,
                patient_keys=entry.patient_keys,
                title=entry.title,
            )
            for entry in read_value(tuple[_Entry, ...], entries, where)
        )

    return read(entries, "ancestors", 0)


def _title_of(path: Path, sha256: str) -> str:
    """Title of the card beside a weights file, if the card is the file's; else empty."""
    card = read_card(path.parent)
    return card.title if card is not None and card.weights_sha256 == sha256 else ""


def _saved_hashes(path: Path, work_dir: Path) -> set[str]:
    """SHA-256 that the run in a folder noted for one of its weights files."""
    try:
        if path.parent.name == EPOCHS:
            hashes = parse_json(read_text(path.parent / EPOCH_HASHES, MOST_MODEL_JSON_BYTES))
            return {hashes[path.name]}
        if path.name != BEST_WEIGHTS:
            return set()
        content = parse_json(read_text(work_dir / MODEL, MOST_MODEL_JSON_BYTES))
        return {content["sha256"], content["previous_sha256"]}
    except (OSError, KeyError, TypeError, ValueError):
        return set()


@functools.cache
def _imagenet_hashes() -> frozenset[str]:
    """MD5 of the ImageNet weights that keras.applications would download, where it notes them."""
    from ich_tf.runtime.keras2 import keras

    modules = {inspect.getmodule(value) for value in vars(keras.applications).values()}
    hashes: set[str] = set()
    for module in modules:
        for value in getattr(module, "WEIGHTS_HASHES", {}).values():
            hashes.update(value)
    return frozenset(hashes)
