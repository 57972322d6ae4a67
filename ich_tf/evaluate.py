"""Scores a trained model on held-out patients with the challenge's weighted log loss.

  python -m ich_tf.evaluate --data_dir=T --work_dir=W --split=test --out_dir=E

Writes metrics.json and predictions.csv. Exit codes: 0 done; 1 data or model cannot be used;
2 wrong usage.
"""

from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.runtime import command

command.define_flags(EvaluateConfig)


def main() -> None:
    """Flags -> config -> evaluation -> table."""
    from ich_tf.evaluation.evaluate import evaluate

    print(evaluate(command.config_from_flags(EvaluateConfig)).report())


if __name__ == "__main__":
    command.run(main, __doc__)
