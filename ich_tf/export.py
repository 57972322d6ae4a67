"""Writes a trained model as a SavedModel: Hounsfield units in, calibrated probabilities out.

  python -m ich_tf.export --work_dir=W --out_dir=E

E/1/ loads in TensorFlow Serving and by tf.saved_model.load, without ich_tf; E/manifest.json says
what it takes and holds the hash of every file. Research only: not for clinical use. Exit codes: 0
done; 1 no model, or the version is there already; 2 wrong usage.
"""

from ich_tf.inference.config import ExportConfig
from ich_tf.runtime import command

command.define_flags(ExportConfig)


def main() -> None:
    """Flags -> config -> export -> path."""
    config = command.config_from_flags(ExportConfig)
    from ich_tf.inference.export import export

    print(export(config))


if __name__ == "__main__":
    command.run(main, __doc__)
