"""Scores a trained model on held-out patients and writes a report.

  python -m ich_tf.evaluate --data_dir=T --work_dir=W --split=test --out_dir=E

Scores: weighted log loss, AUC, operating points and calibration, by slice, series and patient.
Writes metrics.json, predictions.csv, summary.txt, report.html and model_card.md.

Exit codes: 0 done; 1 the data or the model cannot be used; 2 wrong usage.
"""

from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.runtime import command

command.define_flags(EvaluateConfig)


def main() -> None:
    """Evaluates and prints a table of the scores."""
    from ich_tf.evaluation.evaluate import evaluate

    command.show(evaluate(command.config_from_flags(EvaluateConfig)).report())


if __name__ == "__main__":
    command.run(main, __doc__)
