"""Checks a submission CSV against the challenge's sample submission.

  python -m ich_tf.check_submission --submission_csv=submission.csv --sample_csv=sample.csv

Checked are ids, their order and number, and values.

Exit codes: 0 valid; 1 invalid, with the number and first row of each kind of problem on stderr;
2 wrong usage.
"""

from __future__ import annotations

from ich_tf.runtime import command

command.add_headings({"submission_csv": "Files"})
_SUBMISSION_CSV = command.define_path(
    "submission_csv",
    "runs/resnet50/submission.csv",
    "Submission to check, as ich_tf.predict writes it.",
)
_SAMPLE_CSV = command.define_path(
    "sample_csv",
    "data/phantoms/stage_2_sample_submission.csv",
    "Sample submission of the challenge.",
)


def main() -> None:
    """Compares both files; raises an error that lists all problems."""
    from ich_tf.errors import InputError
    from ich_tf.inference.prediction.submission import check_submission

    problems = check_submission(_SUBMISSION_CSV.value, _SAMPLE_CSV.value)
    if problems:
        raise InputError(f"{_SUBMISSION_CSV.value}: {'; '.join(map(str, problems))}.")
    command.show(f"{_SUBMISSION_CSV.value}: sound")


if __name__ == "__main__":
    command.run(main, __doc__)
