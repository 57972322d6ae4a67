"""Config of a set of synthetic studies: frozen, and checked when it is made."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from ich_tf.phantom.shares import parse_shares
from ich_tf.runtime.options import check_options, option, require

# A quarter of RSNA's bleeding studies are subdural and one in forty is epidural; here each
# subtype leads often enough that a set of 60 patients has tens of slices of it.
_SHARES = (
    "epidural=0.24",
    "intraparenchymal=0.22",
    "intraventricular=0.16",
    "subarachnoid=0.18",
    "subdural=0.20",
)


@dataclasses.dataclass(frozen=True)
class PhantomConfig:
    """Options of a set of synthetic studies; each is a flag of ich_tf.make_phantoms.

    Raises:
      ConfigError: If an option has a value that is not allowed.

    Examples:
      >>> PhantomConfig(num_patients=20, test_fraction=0.1).num_test_patients
      2
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "num_patients": "Set",
        "bleed_fraction": "Bleeds",
        "noise_hu": "Scanner and patients",
        "headers": "Output",
    }

    num_patients: int = option(
        60, "Number of patients, including those of the test set.", within="[1, inf)"
    )
    test_fraction: float = option(
        0.15,
        "Share of the patients that go to stage_2_test; above 0, at least one patient.",
        within="[0, 1)",
    )
    seed: int = option(
        0,
        "Seed of everything random: the same flags and seed give the same bytes.",
        within="[0, inf)",
    )
    realism: str = option(
        "basic",
        "Heads and scanner. basic: drawings with physics; full: heads that look like scans, whose "
        "every parameter is drawn from a published range, in about six times the time.",
        ("basic", "full"),
    )
    matrix: int = option(
        512,
        "Rows and columns of a slice; the field of view stays about 230 mm.",
        within="[32, 1024]",
    )
    bleed_fraction: float = option(
        0.6,
        "Share of the patients with a bleed. With 0.4, about 14 % of the slices have one, as in "
        "RSNA's set.",
        within="[0, 1]",
    )
    subtype_shares: tuple[str, ...] = option(
        _SHARES,
        "Frequency of each subtype as the leading bleed: subtype=weight, scaled to sum 1; a "
        "subtype that is left out never leads. Other bleeds join the leading one as they do in "
        "patients, such as blood from the brain in the ventricles.",
    )
    min_volume_ml: float = option(
        1.0,
        "Smallest volume of a leading bleed, ml. With --realism=full it is smaller where there is "
        "no room, as in ventricles, which are filled up then.",
        within="(0, inf)",
    )
    max_volume_ml: float = option(
        80.0,
        "Largest volume of a leading bleed, ml, from --min_volume_ml to 200.",
        within="(0, 200]",
    )
    min_area_mm2: float = option(
        30.0,
        "Smallest area of a subtype in a slice that is labelled, mm2: the voxels that are at least "
        "half filled with it, after partial volume. Smaller areas are left out of the masks.",
        within="(0, inf)",
    )
    noise_hu: float = option(
        4.0,
        "Standard deviation of the noise in the brain at 512 pixels, HU; coarser pixels have less.",
        within="[0, 50]",
    )
    followup_fraction: float = option(
        0.2, "Share of the patients with two or three studies.", within="[0, 1]"
    )
    mimic_fraction: float = option(
        0.5,
        "Share of the patients with calcifications; a fifth of it is the share of the studies with "
        "motion.",
        within="[0, 1]",
    )
    tilt_fraction: float = option(
        0.5, "Share of the studies with a tilted gantry.", within="[0, 1]"
    )
    quirk_fraction: float = option(
        0.08,
        "Share of the studies with 12-bit pixels that wrapped around and a lost intercept.",
        within="[0, 1]",
    )
    headers: str = option(
        "rsna",
        "Headers of the files. rsna: as RSNA's, with ids for UIDs; archive: as a scanner's, with "
        "valid UIDs, made-up names and dates, so that an archive takes them.",
        ("rsna", "archive"),
    )
    masks: bool = option(
        False,
        "Also write stage_2_train_masks/ and stage_2_test_masks/: PNGs, uint8, bit k = class k.",
    )

    def __post_init__(self) -> None:
        check_options(self)
        require(
            self.min_volume_ml <= self.max_volume_ml,
            "max_volume_ml",
            self.max_volume_ml,
            f"from min_volume_ml, which is {self.min_volume_ml}, to 200",
        )
        _ = self.shares  # checks the subtypes and their weights

    @property
    def num_test_patients(self) -> int:
        """Number of patients in the test set; at least one patient is left for training."""
        if not self.test_fraction:
            return 0
        return min(max(1, round(self.test_fraction * self.num_patients)), self.num_patients - 1)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the bleeding patients that each of `SUBTYPES` leads in; the sum is 1."""
        return parse_shares(self.subtype_shares)
