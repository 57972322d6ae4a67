"""Copies synthetic studies into a folder of samples for the web page.

  python -m ich_tf.make_samples --phantoms_dir=data/phantoms --out_dir=data/samples

Each subtype is represented by the series with the most slices of it, and one series has no bleed.
All are of held-out patients, whom no model has seen in training.

Exit codes: 0 done, or --out_dir exists already; 1 no phantoms; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path

from ich_tf.runtime import command

command.add_headings({"phantoms_dir": "Folders"})
_PHANTOMS = command.define_path(
    "phantoms_dir", "data/phantoms", "Folder that ich_tf.make_phantoms wrote."
)
_OUT = command.define_path(
    "out_dir", "data/samples", "Folder to write; ich_tf.serve takes it as --samples_dir."
)
command.hold_no_patients()


def main() -> None:
    """Writes the samples unless they exist, and prints their descriptions."""
    from ich_tf.phantom.samples import write_samples

    out_dir = Path(_OUT.value)
    if out_dir.is_dir():
        command.show(f"{out_dir}: there already.")
        return
    for name, description in write_samples(Path(_PHANTOMS.value), out_dir).items():
        command.show(f"{out_dir / name}: {description}")


if __name__ == "__main__":
    command.run(main, __doc__)
