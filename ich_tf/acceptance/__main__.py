"""Scores a model on a site's own scans with inserted bleeds.

  python -m ich_tf.acceptance --work_dir=W --inserted=data/inserted --dicom_dir=negatives

Writes a report (HTML and JSON) of the bleeds that are found, by type, volume, contrast, noise and
kernel, and of false alarms on the untouched scans. Research only: not for clinical use.

Exit codes: 0 done; 1 no model, or the folders are not those of one insertion; 2 wrong usage.
"""

from ich_tf.acceptance.config import AcceptanceConfig
from ich_tf.runtime import command

command.define_flags(AcceptanceConfig)


def main() -> None:
    """Scores the model and prints the result."""
    config = command.config_from_flags(AcceptanceConfig)
    from ich_tf.acceptance.acceptance import run_acceptance

    command.show(f"{run_acceptance(config).report()}\nwritten to {config.out}")


if __name__ == "__main__":
    command.run(main, __doc__)
