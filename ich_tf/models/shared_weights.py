"""Shared weights: a folder with the weights of a run, and a card that says how they were made.

    best.weights.h5, model.json, run.json, config.json   of the run
    calibration.json                                     where the run was calibrated
    card.json                                            the card, which `--weights=FOLDER` reads
    card.md                                              the same for people

Any work dir of a run can be given for `--weights`, too; it has no card.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ich_tf.errors import InputError
from ich_tf.models.bundle import is_bundle_of_weights, model_folder
from ich_tf.models.run_files import BEST_WEIGHTS, CARD
from ich_tf.runtime.files import MOST_MODEL_JSON_BYTES, file_sha256, read_json

VERSION = 1
_COPY = "Copy the whole folder from where the weights were made."


@dataclasses.dataclass(frozen=True)
class MeasuredScore:
    """A score of the weights, and where it was measured.

    Attributes:
      data: Description of the patients, such as "24 held-out synthetic patients".
      is_real: Whether they are real patients.
      task: What was done with the weights: `as they are`, or how they were trained further.
      score: Name of the score, such as "AUC of any".
      value: The score.
      low, high: Bounds of its 95 % interval; None without an interval.
      command: Command that measured it.
    """

    data: str
    is_real: bool
    task: str
    score: str
    value: float
    low: float | None
    high: float | None
    command: str

    def __post_init__(self) -> None:
        texts = (self.data, self.task, self.score, self.command)
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if not all(isinstance(text, str) for text in texts) or len(bounds) == 1:
            raise ValueError("a score whose words are no text, or with one bound")
        if not isinstance(self.is_real, bool) or not all(
            isinstance(number, int | float) for number in (self.value, *bounds)
        ):
            raise ValueError("a score that is no number, or of patients that may be real")


@dataclasses.dataclass(frozen=True)
class WeightsCard:
    """How weights were made, and what was measured of them.

    Attributes:
      title: Description of the weights in a few words, such as "resnet50 of 160 synthetic
        patients".
      weights_sha256: SHA-256 of best.weights.h5.
      ich_tf: Version of ich_tf that made them.
      generator_sha256: SHA-256 of the sources that drew the synthetic patients.
      phantoms: Options of the synthetic patients.
      training: Options of the training.
      measured: Scores, each with the data it was measured on.
      version: Version of the file's form.
    """

    title: str
    weights_sha256: str
    ich_tf: str
    generator_sha256: str
    phantoms: dict[str, Any]
    training: dict[str, Any]
    measured: tuple[MeasuredScore, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"version is {self.version}; this version reads {VERSION}")
        texts = (self.title, self.weights_sha256, self.ich_tf, self.generator_sha256)
        if not all(isinstance(text, str) for text in texts) or not self.title.strip():
            raise ValueError("a title or a hash that is no text")
        if not (isinstance(self.phantoms, dict) and isinstance(self.training, dict)):
            raise ValueError("options of phantoms or training that are no options")

    @property
    def claim(self) -> str:
        """What the card claims of real patients, a sentence."""
        real = [score for score in self.measured if score.is_real]
        if not real:
            return (
                "No score on real patients was measured, and none is claimed: the scores below are "
                "of synthetic patients, and say that the training worked."
            )
        return f"{len(real)} of the scores below are of real patients; no other is claimed."

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> WeightsCard:
        """Reads what `dataclasses.asdict` made of a card.

        Raises:
          AttributeError, KeyError, TypeError, ValueError: If the content is something else.
        """
        measured = tuple(MeasuredScore(**score) for score in content["measured"])
        return cls(**{**content, "measured": measured})


def weights_file(weights: str) -> Path:
    """The file that `--weights` names: a path, or best.weights.h5 of a folder.

    Args:
      weights: Path of a weights file, of a folder with shared weights or a run, or of a bundle.

    Raises:
      InputError: If the folder has no weights, or others than its card says.
    """
    path, kind = Path(weights), "folder"
    if is_bundle_of_weights(weights):
        path, kind = model_folder(weights), "bundle"
    if not path.is_dir():
        return path
    file = path / BEST_WEIGHTS
    if not file.is_file():
        raise InputError(
            f"--weights={weights}: the {kind} has no {BEST_WEIGHTS}. Give the folder of a run or "
            "of shared weights, or the path of a weights file."
        )
    card = read_card(path)
    if card is not None and file_sha256(file) != card.weights_sha256:
        raise InputError(
            f"--weights={weights}: {BEST_WEIGHTS} is not the file that {CARD} describes (another "
            f"SHA-256). {_COPY}"
        )
    return file


def read_card(folder: Path) -> WeightsCard | None:
    """Reads the card of a folder.

    Args:
      folder: Folder of shared weights, or of a run.

    Returns:
      The card; None if there is none.

    Raises:
      InputError: If the file is damaged.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        return WeightsCard.from_json(read_json(path, _COPY, MOST_MODEL_JSON_BYTES))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a card of weights ({error!r}). {_COPY}") from error
