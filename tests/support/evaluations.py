"""Evaluations without a report."""

from pathlib import Path

from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.evaluate import evaluate


def evaluation(data_dir: Path, work_dir: Path, split: str = "test", **changes):
    return evaluate(
        EvaluateConfig(
            data_dir=str(data_dir),
            work_dir=str(work_dir),
            split=split,
            bootstrap=0,
            report=False,
            **changes,
        )
    )
