"""A model card (Mitchell et al. 2019, arXiv:1810.03993), written from the files of its runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ich_tf.errors import ConfigError, InputError
from ich_tf.evaluation.checklist_facts import checklist_facts, checklist_rows
from ich_tf.evaluation.checklist_items import CLAIM, TRIPOD_AI
from ich_tf.evaluation.exams import exam_lines
from ich_tf.evaluation.leakage import same_data
from ich_tf.evaluation.result import Evaluation
from ich_tf.evaluation.scores import IntervalEstimate
from ich_tf.inference.ensemble import find_members
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.models import run_files
from ich_tf.models.bundle import shown
from ich_tf.models.origins import read_origin
from ich_tf.models.run_json import read_run, read_sessions
from ich_tf.records.manifest import Manifest
from ich_tf.runtime import html
from ich_tf.runtime.files import write_text
from ich_tf.training.config import TrainConfig

# Options that the card shows; config.json holds all of them.
_RECIPE = (
    "backbone", "weights", "image_size", "neighbours", "batch_size", "epochs", "optimizer",
    "learning_rate", "schedule", "weight_decay", "ema_decay", "negative_fraction", "flip", "shift",
    "rotate", "scale", "mixup", "cutout", "dropout", "seed", "mixed_precision",
)  # fmt: skip


def write_model_card(
    path: Path,
    evaluation: Evaluation,
    work_dir: str | Path,
    predictor: Predictor,
    manifest: Manifest,
) -> None:
    """Writes the card as Markdown, with the checklists CLAIM 2024 and TRIPOD+AI at its end.

    Args:
      path: File to write.
      evaluation: Scores of the model.
      work_dir: Folder of the model.
      predictor: Model.
      manifest: Manifest of the evaluated data.
    """
    folders = list(dict.fromkeys(member.work_dir for member in find_members(work_dir)))
    runs = [describe_run(folder) for folder in folders]
    facts = checklist_facts(
        evaluation, predictor, runs, manifest, is_own_data=same_data(work_dir, manifest)
    )
    content = {
        "evaluation": evaluation,
        "slices": evaluation.levels[evaluation.level],
        "noun": evaluation.noun,
        "exams": exam_lines(evaluation.exams, evaluation.noun) if evaluation.exams else [],
        "classes": CLASSES,
        "point": DEFAULT_POINT,
        "predictor": predictor,
        "postprocessing": predictor.postprocessing,
        "runs": runs,
        "checklists": [
            {"name": name, "rows": rows, "counts": Counter(mark for _, mark, _ in rows)}
            for name, items in (("CLAIM 2024", CLAIM), ("TRIPOD+AI", TRIPOD_AI))
            for rows in (checklist_rows(items, facts),)
        ],
        "text": IntervalEstimate.text,
    }
    write_text(path, html.render("ich_tf.evaluation", "model_card.md", content))


def describe_run(work_dir: Path) -> dict[str, Any]:
    """Describes a run by its config.json and run.json; `missing` tells that one is missing.

    Args:
      work_dir: Folder of the run.
    """
    description: dict[str, Any] = {
        "name": Path(shown(work_dir)).name,
        "recipe": {},
        "data": {},
        "sessions": [],
        "missing": "",
    }
    try:
        config = TrainConfig.from_json((work_dir / run_files.CONFIG).read_text("utf-8"))
        description["fold"] = config.validation_fold
        description["recipe"] = {name: getattr(config, name) for name in _RECIPE}
        run = read_run(work_dir)
        description |= {"data": run["data"], "sessions": read_sessions(run)}
        description["started_from"] = read_origin(work_dir).started_from()
    except (OSError, ConfigError, InputError):
        description["missing"] = (
            "config.json or run.json of this run is missing or of another version."
        )
    return description
