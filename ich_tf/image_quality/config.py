"""Config of a comparison of phantoms with real scans: frozen, and checked when it is made."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ich_tf.runtime.options import check_options, option, require


@dataclasses.dataclass(frozen=True)
class RealismConfig:
    """Options of a comparison; each is a flag of ich_tf.realism.

    Raises:
      ConfigError: If an option has a value that is not allowed.
    """

    HEADINGS: ClassVar[dict[str, str]] = {"phantoms": "Scans", "out": "Output"}

    phantoms: str = option(
        "data/phantoms",
        "Synthetic scans: a folder of ich_tf.make_phantoms, or any other folder, archive or list "
        "of CT files.",
        is_path=True,
    )
    real: str = option(
        "data/dicom",
        "Real scans of heads, of the same kinds. Series without brain are left out.",
        is_path=True,
    )
    series: str = option(
        "best",
        "Series of each study to take, as for ich_tf.make_tfrecords: best, all or conditions such "
        "as kernel=soft,thickness<=6.",
    )
    max_series: int = option(
        40, "Maximum number of series to measure of each folder, evenly spread.", within="[1, inf)"
    )
    out: str = option(
        "realism.html",
        "HTML file to write; the numbers go into a JSON file of the same name beside it.",
        is_path=True,
    )
    num_workers: int = option(0, "Worker processes; 0: one per core.", within="[0, 1024]")

    def __post_init__(self) -> None:
        check_options(self)
        from ich_tf.dicom.choice import SeriesChoice  # --help answers without pydicom

        SeriesChoice.parse(self.series)
        for name in ("phantoms", "real"):
            require(bool(getattr(self, name)), name, "", "a folder, archive, file or list")
        require(self.out.endswith(".html"), "out", self.out, "a file whose name ends in .html")
