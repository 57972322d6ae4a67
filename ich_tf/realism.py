"""Compares phantoms with real head CT: what agrees, and what gives phantoms away.

  python -m ich_tf.realism --phantoms=data/phantoms --real=data/dicom --out=realism.html

Measures noise, sharpness, tissues, texture, skull, streaks and surroundings of every series, and
tells phantoms from real scans by their patches. Prints the table; writes it with pictures and
curves to --out, and as JSON beside it.

Exit codes: 0 done; 1 no series of a head; 2 wrong usage.
"""

from ich_tf.image_quality.config import RealismConfig
from ich_tf.runtime import command

command.define_flags(RealismConfig)


def main() -> None:
    """Compares the scans and prints the table."""
    config = command.config_from_flags(RealismConfig)
    from ich_tf.image_quality.realism import measure_realism
    from ich_tf.image_quality.table import text_table

    command.show(f"{text_table(measure_realism(config))}\nwritten to {config.out}")


if __name__ == "__main__":
    command.run(main, __doc__)
