"""What a set of synthetic studies is told: one frozen dataclass, checked as it is made."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from ich_tf.errors import ConfigError
from ich_tf.labels import SUBTYPES

# A quarter of RSNA's bleeding studies are subdural and one in forty is epidural; here each
# subtype leads often enough that a set of 60 patients has tens of slices of it.
_SHARES = (
    "epidural=0.24",
    "intraparenchymal=0.22",
    "intraventricular=0.16",
    "subarachnoid=0.18",
    "subdural=0.20",
)


def _field(default: Any, help_text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_text})


@dataclasses.dataclass(frozen=True)
class PhantomConfig:
    """A set of synthetic studies. Each field's meaning, unit and range stand in its `help`.

    Raises:
      ConfigError: If a field is out of range, or two contradict each other.
    """

    HEADINGS: ClassVar[dict[str, str]] = {
        "num_patients": "Set",
        "bleed_fraction": "Bleeds",
        "noise_hu": "Scanner and patients",
        "masks": "Output",
    }

    num_patients: int = _field(60, "Patients in all, those of the test set included.")
    test_fraction: float = _field(
        0.15, "Share of the patients that go to stage_2_test, in [0, 1). At least one above 0."
    )
    seed: int = _field(0, "Of everything. The same flags and seed give the same bytes.")
    matrix: int = _field(512, "Rows and columns; the field of view stays about 230 mm.")
    bleed_fraction: float = _field(
        0.6, "Share of the patients with a bleed, in [0, 1]. RSNA's 14 % of slices need about 0.4."
    )
    subtype_shares: tuple[str, ...] = _field(
        _SHARES,
        "Which bleed leads in bleeding patients: subtype=weight, scaled to sum 1; a subtype left "
        "out never leads. Others join it as they do in patients (blood from the brain in the "
        "ventricles, and so on).",
    )
    min_volume_ml: float = _field(1.0, "Smallest leading bleed, ml. The median lies between.")
    max_volume_ml: float = _field(80.0, "Largest leading bleed, ml.")
    min_area_mm2: float = _field(
        30.0,
        "A slice has a class if its voxels that are at least half filled with it, after partial "
        "volume, cover so many mm2; smaller amounts are masked out and not labelled.",
    )
    noise_hu: float = _field(
        4.0, "Standard deviation of the noise in the brain at 512 px, HU; coarser pixels have less."
    )
    followup_fraction: float = _field(0.2, "Share of the patients with two or three studies.")
    mimic_fraction: float = _field(
        0.5, "Share of the patients with calcifications, and of the studies with motion (a fifth)."
    )
    tilt_fraction: float = _field(0.5, "Share of the studies with a tilted gantry.")
    quirk_fraction: float = _field(
        0.08, "Share of the studies with 12-bit pixels that wrapped around and a lost intercept."
    )
    masks: bool = _field(
        False,
        "Also write stage_2_train_masks/ and stage_2_test_masks/: PNGs, uint8, bit k = class k.",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "subtype_shares", tuple(self.subtype_shares))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, field.name, value)
            # bool is an int to isinstance: `seed=True` is a slip all the same.
            _require(type(value) is kind, field.name, value, f"of type {kind.__name__}")
            if kind is float:
                _require(math.isfinite(value), field.name, value, "a finite number")
        _require(self.num_patients >= 1, "num_patients", self.num_patients, "1 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(32 <= self.matrix <= 1024, "matrix", self.matrix, "from 32 to 1024")
        _require(0 <= self.test_fraction < 1, "test_fraction", self.test_fraction, "in [0, 1)")
        for name in (
            "bleed_fraction",
            "followup_fraction",
            "mimic_fraction",
            "tilt_fraction",
            "quirk_fraction",
        ):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        _require(self.min_volume_ml > 0, "min_volume_ml", self.min_volume_ml, "above 0")
        _require(
            self.min_volume_ml <= self.max_volume_ml <= 200,
            "max_volume_ml",
            self.max_volume_ml,
            f"from min_volume_ml, which is {self.min_volume_ml}, to 200",
        )
        _require(self.min_area_mm2 > 0, "min_area_mm2", self.min_area_mm2, "above 0")
        _require(0 <= self.noise_hu <= 50, "noise_hu", self.noise_hu, "from 0 to 50")
        _ = self.shares

    @property
    def num_test_patients(self) -> int:
        """Patients of the test set: one is left for training, whatever the share."""
        if not self.test_fraction:
            return 0
        return min(max(1, round(self.test_fraction * self.num_patients)), self.num_patients - 1)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each of `SUBTYPES`, the share of bleeding patients that it leads in; sum 1."""
        weights = dict.fromkeys(SUBTYPES, 0.0)
        for item in self.subtype_shares:
            name, _, text = str(item).partition("=")
            try:
                weight = float(text)
            except ValueError:
                weight = -1.0
            _require(
                name.strip() in weights and math.isfinite(weight) and weight >= 0,
                "subtype_shares",
                item,
                f"subtype=weight with a weight of 0 or more and one of {', '.join(SUBTYPES)}",
            )
            weights[name.strip()] = weight
        total = sum(weights.values())
        _require(total > 0, "subtype_shares", self.subtype_shares, "above 0 for one at least")
        return tuple(weights[name] / total for name in SUBTYPES)


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}; it must be {expected}.")
