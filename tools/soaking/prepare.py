"""What a soak needs, made in a process of its own, which takes TensorFlow with it when it ends.

  python -m tools.soaking.prepare FOLDER SEED

`model` is a network with masks and random weights, for which every slice is suspicious; `studies`
holds a folder of DICOM files for each of a few phantoms.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

NUM_STUDIES = 3


def main() -> None:
    """Writes both folders."""
    from tests.support.gateways import make_model, make_phantoms

    # RSNA's ids, which phantoms have before they are given valid ones, are no UIDs.
    warnings.filterwarnings("ignore", module="pydicom")
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    phantoms = folder / "phantoms"
    phantoms.mkdir(parents=True)
    for number, paths in enumerate(make_phantoms(phantoms, NUM_STUDIES, seed + 1)):
        target = folder / "studies" / str(number)
        target.mkdir(parents=True)
        for path in paths:
            path.rename(target / path.name)
    make_model(folder / "model")


if __name__ == "__main__":
    main()
