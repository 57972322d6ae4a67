"""The folder of shared weights: files of a run, and the card of how they were made."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ich_tf
from ich_tf import phantom
from ich_tf.errors import InputError
from ich_tf.inference.ensemble import combined_sha256
from ich_tf.labels import CLASSES
from ich_tf.models import run_files
from ich_tf.models.origins import read_origin
from ich_tf.models.shared_weights import MeasuredScore, WeightsCard
from ich_tf.phantom.dataset import MANIFEST
from ich_tf.runtime.files import read_json, write_json, write_text

_SHARED = (run_files.BEST_WEIGHTS, run_files.MODEL, run_files.RUN, run_files.CONFIG)
_PAGE = """# {title}

**Research only. Not a medical device, not for clinical use.** A start for training on real patients
(`--weights=FOLDER`), not a model to use as it is.

**{claim}**

| | |
| --- | --- |
| SHA-256 of `{file}` | `{weights_sha256}` |
| ich_tf | {ich_tf} |
| SHA-256 of the generator's sources | `{generator_sha256}` |

## Measured

| on | real patients | weights | score | value | 95 % interval | by |
| --- | --- | --- | --- | ---: | --- | --- |
{measured}

## Synthetic patients

{phantoms}

## Training

{training}
"""


def share(
    folder: Path, run: Path, phantoms: Path, measured: Sequence[MeasuredScore]
) -> WeightsCard:
    """Copies what others need of a run into a folder, and writes the card, last.

    Args:
      folder: Folder to write; what it holds of an earlier run is replaced.
      run: Work dir of the run.
      phantoms: Folder of the synthetic patients that it was trained on.
      measured: Scores of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # An old card beside new weights would be refused: it goes first, and the new one comes last.
    for name in (run_files.CARD, run_files.CARD_PAGE, run_files.CALIBRATION):
        (folder / name).unlink(missing_ok=True)
    for name in _SHARED:
        shutil.copyfile(run / name, folder / name)
    if (run / run_files.CALIBRATION).is_file():
        shutil.copyfile(run / run_files.CALIBRATION, folder / run_files.CALIBRATION)
    options = read_json(phantoms / MANIFEST)["config"]
    origin = read_origin(run)
    trained = sum(len(ids) for fold, ids in origin.folds.items() if fold != origin.held_out)
    training = read_json(run / run_files.CONFIG)
    # Sets of basic phantoms name no realism: they are from before there was another.
    realism = options.get("realism", "basic")
    card = WeightsCard(
        title=f"{training['backbone']} of {trained} synthetic patients, {realism}",
        weights_sha256=read_json(run / run_files.MODEL)["sha256"],
        ich_tf=ich_tf.__version__,
        generator_sha256=generator_sha256(),
        phantoms=options,
        training=training,
        measured=tuple(measured),
    )
    _write(folder, card)
    return card


def add_scores(folder: Path, card: WeightsCard, scores: Iterable[MeasuredScore]) -> WeightsCard:
    """Adds scores to the card of a folder, once each, and writes it again.

    Args:
      folder: Folder of the weights.
      card: Its card.
      scores: Scores; one that was noted before, of the same patients and task, is replaced.
    """

    def what(score: MeasuredScore) -> tuple[str, str, str]:
        return score.data, score.task, score.score

    by_what = {what(score): score for score in (*card.measured, *scores)}
    card = dataclasses.replace(card, measured=tuple(by_what.values()))
    _write(folder, card)
    return card


def _write(folder: Path, card: WeightsCard) -> None:
    write_text(folder / run_files.CARD_PAGE, page_of(card))
    write_json(folder / run_files.CARD, dataclasses.asdict(card))


def generator_sha256() -> str:
    """SHA-256 of the sources that draw synthetic patients: names and contents, in order."""
    root = Path(phantom.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def scores_of(
    metrics: Path,
    data: str,
    command: str,
    *,
    weights_sha256: str,
    is_real: bool = False,
    task: str = "as they are",
) -> list[MeasuredScore]:
    """Scores of weights, from the metrics.json of an evaluation.

    Args:
      metrics: The file.
      data: Description of the patients.
      command: Command that measured them.
      weights_sha256: SHA-256 of the weights that must have been evaluated.
      is_real: Whether the patients are real.
      task: What was done with the weights, as of `MeasuredScore`.

    Raises:
      InputError: If the file is no evaluation, or one of other weights.
    """
    content = read_json(metrics, "Run python -m ich_tf.evaluate first.")
    scores = []
    try:
        evaluated = content["model"]["sha256"]
        slices = content["levels"]["slice"]
        rows = [("weighted log loss of slices", slices["weighted_log_loss"])]
        rows += [(f"AUC of slices, {name}", slices["classes"][name]["roc_auc"]) for name in CLASSES]
        for name, estimate in rows:
            if estimate["value"] is not None:
                values = (estimate["value"], estimate["low"], estimate["high"])
                scores.append(MeasuredScore(data, is_real, task, name, *values, command))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{metrics}: not an evaluation ({error!r}). Run python -m ich_tf.evaluate again."
        ) from error
    if evaluated != combined_sha256([weights_sha256], [1.0]):
        raise InputError(
            f"{metrics}: an evaluation of other weights than {run_files.BEST_WEIGHTS} beside it. "
            "Run python -m ich_tf.evaluate again."
        )
    return scores


def page_of(card: WeightsCard) -> str:
    """The card as Markdown."""
    return _PAGE.format(
        title=card.title,
        claim=card.claim,
        file=run_files.BEST_WEIGHTS,
        weights_sha256=card.weights_sha256,
        ich_tf=card.ich_tf,
        generator_sha256=card.generator_sha256,
        measured="\n".join(map(_row, card.measured)),
        phantoms=_flags(card.phantoms),
        training=_flags(card.training),
    )


def _row(score: MeasuredScore) -> str:
    interval = "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
    real = "yes" if score.is_real else "no"
    cells = (score.data, real, score.task, score.score, f"{score.value:.3f}", interval)
    return f"| {' | '.join(cells)} | `{score.command}` |"


def _flags(options: dict[str, Any]) -> str:
    return " ".join(f"`{name}={value}`" for name, value in options.items())
