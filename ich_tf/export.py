"""Exports a trained model with calibrated probabilities, as SavedModel or ONNX.

  python -m ich_tf.export --work_dir=W --out_dir=E

The model takes Hounsfield units. TensorFlow Serving and tf.saved_model.load read E/1/ without
ich_tf; with --format=onnx ONNX Runtime reads E/1/model.onnx. E/manifest.json describes the input
and holds the hash of every file. Research only: not for clinical use.

Exit codes: 0 done; 1 no model, or the version exists already; 2 wrong usage.
"""

from ich_tf.inference.config import ExportConfig
from ich_tf.runtime import command

command.define_flags(ExportConfig)
command.hold_no_patients()


def main() -> None:
    """Exports the model and prints the path of the new version."""
    config = command.config_from_flags(ExportConfig)
    from ich_tf.inference.export import export

    command.show(export(config))


if __name__ == "__main__":
    command.run(main, __doc__)
