"""Which class a value, a segment or a contour of a mask file stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.errors import ConfigError
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.errors import MaskError, MaskReason

# What `--mask_classes` names a value that stands for no class, such as the skull.
NO_CLASS = "none"
# A binary mask without a class map: of ones, or of the white of an 8-bit image.
_BINARY = (1, 255)
# Largest value that is looked up in a table: no mask has more classes.
_MAX_VALUE = 65535
_SUBTYPES = (1 << ANY) - 1
_BY_NAME: dict[str, int | None] = {name: number for number, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class ClassMap:
    """Classes by value, segment number, segment label or name of a region of interest.

    The names of the classes are known by themselves. Without entries, a binary mask is of `any`.

    Attributes:
      entries: Keys in lower case, with spaces for underscores, and their class: an index of
        `labels.CLASSES`, or None for no class.
    """

    entries: tuple[tuple[str, int | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> ClassMap:
        """Reads the value of `--mask_classes`.

        Args:
          text: Pairs `key:class` separated by commas; empty for no map.

        Raises:
          ConfigError: If it holds anything else, or a key twice.

        Examples:
          >>> ClassMap.parse("1:epidural,ICH left:any,Skull:none").entries
          (('1', 0), ('ich left', 5), ('skull', None))
        """
        entries: dict[str, int | None] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            key, _, name = part.rpartition(":")
            key, name = _normal(key), name.strip().lower()
            if not key or key in entries or (name not in _BY_NAME and name != NO_CLASS):
                raise ConfigError(
                    f"mask_classes: {part!r} in {text!r} is no pair; expected, separated by "
                    "commas, value:class with each value once and a class of "
                    f"{', '.join((*CLASSES, NO_CLASS))}; for example 1:epidural,2:subdural."
                )
            entries[key] = _BY_NAME.get(name)
        return cls(tuple(entries.items()))

    def bits_of_values(self, values: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, int]:
        """Bits of a mask in which each value stands for a class.

        Args:
          values: Values, 0 for nothing, integers of any type, [n, ...], not empty. They are read
            part by part, twice: all at once, a volume takes gigabytes in 64 bits.

        Returns:
          Bits, uint8 of the same shape, and the bits of the classes that are annotated.

        Raises:
          MaskError: MASK_CLASS for a value without a class.
        """
        found: set[int] = set()
        for part in values:
            low, high = int(part.min()), int(part.max())
            if low < 0 or high > _MAX_VALUE:
                raise self._outside(f"the value {low if low < 0 else high}")
            # 64 bits without a sign are no index.
            found.update(np.flatnonzero(np.bincount(part.ravel().astype(np.int64))).tolist())
        table = np.zeros(max(found) + 1, np.uint8)
        by_value = dict(self.entries)
        if not by_value and len(found - {0}) <= 1 and found <= {0, *_BINARY}:
            table[1:] = 1 << ANY
            return _looked_up(table, values), 1 << ANY
        for value in sorted(found):
            if value == 0 and "0" not in by_value:
                continue
            if str(value) not in by_value:
                raise self._outside(f"the value {value}")
            table[value] = bits_of(by_value[str(value)])
        return _looked_up(table, values), self.annotated(())

    def class_of(self, label: str, number: int, what: str) -> int | None:
        """Class of a segment or of a region of interest.

        Args:
          label: Its label or name, as in the file.
          number: Its number in the file.
          what: What it is, for the message, for example `segment`.

        Returns:
          An index of `labels.CLASSES`; None if it stands for no class.

        Raises:
          MaskError: MASK_CLASS. The message has the number alone: a label may hold a name.
        """
        by_key = _BY_NAME | dict(self.entries)
        for key in (_normal(label), str(number)):
            if key in by_key:
                return by_key[key]
        raise self._outside(f"{what} {number}, whose label is no class either")

    def annotated(self, found: Iterable[int | None]) -> int:
        """Bits of the classes that a file tells of: those of the map, and those found in it.

        `any` is one of them if it is named, or if all subtypes are.
        """
        bits = 0
        for class_ in (*(class_ for _, class_ in self.entries), *found):
            bits |= bits_of(class_) if class_ == ANY else bits_of(class_) & _SUBTYPES
        return bits | (1 << ANY) if bits & _SUBTYPES == _SUBTYPES else bits

    def _outside(self, what: str) -> MaskError:
        known = ", ".join(f"{key}:{name_of(class_)}" for key, class_ in self.entries)
        return MaskError(
            MaskReason.MASK_CLASS,
            f"holds {what}; expected those of --mask_classes={known}."
            if known
            else f"holds {what}; expected a binary mask or the names of classes. Say what each "
            "value stands for, as --mask_classes=1:epidural,2:subdural.",
        )


def bits_of(class_: int | None) -> int:
    """Bits that a pixel of a class has: its own, and that of `any`."""
    return 0 if class_ is None else 1 << class_ | 1 << ANY


def name_of(class_: int | None) -> str:
    """Name of a class as `--mask_classes` takes it."""
    return NO_CLASS if class_ is None else CLASSES[class_]


def _looked_up(table: np.ndarray, values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    bits = np.empty((len(values), *np.shape(values[0])), np.uint8)
    for index, part in enumerate(values):
        bits[index] = table[part]
    return bits


def _normal(key: str) -> str:
    return " ".join(key.lower().replace("_", " ").split())
