"""Compares models, or anybody's predictions, on the same patients.

  python -m ich_tf.compare --models=old=runs/old,new=runs/new --margin=roc_auc=0.02 --out_dir=C

Each model is compared with the reference by paired resampling of patients: differences with 95 %
intervals, non-inferiority at a margin, and decisions case by case at the operating points. Models
on other patients, examples or labels are refused. Writes comparison.json, comparison.csv and
report.html. Research only: not for clinical use.

Exit codes: 0 done; 1 the predictions cannot be compared; 2 wrong usage.
"""

from ich_tf.comparison.config import CompareConfig
from ich_tf.runtime import command

command.define_flags(CompareConfig)


def main() -> None:
    """Compares the models and prints a table of the differences."""
    config = command.config_from_flags(CompareConfig)
    from ich_tf.comparison.comparison import compare

    command.show(f"{compare(config).report()}\nwritten to {config.out_dir}")


if __name__ == "__main__":
    command.run(main, __doc__)
