"""Predicts DICOM files: a submission CSV and a summary of every series.

  python -m ich_tf.predict --dicom_dir=D/stage_2_test --work_dir=W --out_csv=submission.csv

Research only: not for clinical use.

Exit codes: 0 done, with a list of the files that could not be read; 1 no model, or nothing to
predict; 2 wrong usage.
"""

from ich_tf.inference.config import PredictConfig
from ich_tf.runtime import command

command.define_flags(PredictConfig)


def main() -> None:
    """Predicts and prints the paths of the results."""
    config = command.config_from_flags(PredictConfig)
    from ich_tf.inference.prediction.predict import predict

    command.show(predict(config).report())


if __name__ == "__main__":
    command.run(main, __doc__)
