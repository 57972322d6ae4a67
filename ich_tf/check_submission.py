"""Checks a submission CSV against the sample: ids, their order and number, and values.

  python -m ich_tf.check_submission --submission_csv=submission.csv --sample_csv=sample.csv

Exit codes: 0 sound; 1 not, every kind of problem with its number and first row on stderr; 2 wrong
usage.
"""

from __future__ import annotations

from absl import flags

from ich_tf.runtime import command

_SUBMISSION_CSV = flags.DEFINE_string(
    "submission_csv", "runs/resnet50/submission.csv", "What ich_tf.predict wrote."
)
_SAMPLE_CSV = flags.DEFINE_string(
    "sample_csv", "data/phantoms/stage_2_sample_submission.csv", "The challenge's sample."
)


def main() -> None:
    """Reads both, and says what is wrong."""
    from ich_tf.errors import InputError
    from ich_tf.inference.prediction.submission import check_submission

    problems = check_submission(_SUBMISSION_CSV.value, _SAMPLE_CSV.value)
    if problems:
        raise InputError(f"{_SUBMISSION_CSV.value}: {'; '.join(map(str, problems))}.")
    print(f"{_SUBMISSION_CSV.value}: sound")


if __name__ == "__main__":
    command.run(main, __doc__)
