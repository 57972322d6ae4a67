import numpy as np
import pytest

from ich_tf.errors import ConfigError
from ich_tf.labels import ANY
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason

_ANY = 1 << ANY


def test_values_become_the_bits_of_their_class_and_of_any() -> None:
    classes = ClassMap.parse("1:epidural, 2:subdural, 9:none, 3:any")
    bits, annotated = classes.bits_of_values(np.array([[0, 1, 2], [9, 3, 1]], np.int16))
    assert bits.tolist() == [[0, 1 | _ANY, 16 | _ANY], [0, _ANY, 1 | _ANY]]
    assert annotated == 1 | 16 | _ANY


def test_any_is_annotated_by_name_or_by_all_subtypes() -> None:
    assert ClassMap.parse("1:epidural").annotated(()) == 1
    every = "1:epidural,2:intraparenchymal,3:intraventricular,4:subarachnoid,5:subdural"
    assert ClassMap.parse(every).annotated(()) == 0b111111


@pytest.mark.parametrize("value", [1, 255])
def test_a_binary_mask_is_of_any_alone(value: int) -> None:
    bits, annotated = ClassMap().bits_of_values(np.array([0, value], np.uint8))
    assert bits.tolist() == [0, _ANY]
    assert annotated == _ANY


@pytest.mark.parametrize(
    ("text", "values"),
    [("", [0, 2]), ("", [0, 1, 255]), ("1:any", [1, 2]), ("1:any", [-1]), ("1:any", [1 << 18])],
)
def test_a_value_outside_the_map_is_refused(text: str, values: list[int]) -> None:
    with pytest.raises(MaskError, match="holds the value|expected") as error:
        ClassMap.parse(text).bits_of_values(np.array(values))
    assert error.value.reason is MaskReason.MASK_CLASS


def test_segments_go_by_label_then_number_then_the_name_of_a_class() -> None:
    classes = ClassMap.parse("Bleed left:subdural,2:epidural")
    assert classes.class_of("bleed_LEFT", 2, "segment") == 4
    assert classes.class_of("Thing", 2, "segment") == 0
    assert classes.class_of("Intraventricular", 7, "segment") == 2
    with pytest.raises(MaskError, match="segment 3") as error:
        classes.class_of("Jane Doe", 3, "segment")
    assert "Doe" not in str(error.value)  # a label may hold a name


@pytest.mark.parametrize("text", ["1", "1:brain", ":any", "1:any,1:subdural"])
def test_other_maps_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="mask_classes"):
        ClassMap.parse(text)
