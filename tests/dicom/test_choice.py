"""Choice of series: the rule of `best`, expressions, and what is said of the others."""

from dataclasses import replace

import numpy as np
import pytest

from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.series_description import SeriesDescription
from ich_tf.errors import ConfigError

PLAIN = SeriesDescription(
    uid="1.5",
    number_of_pass=1,
    num_slices=28,
    kernel="soft",
    thickness_mm=5.0,
    spacing_mm=5.0,
    coverage_mm=140.0,
    contrast="no",
    origin="original",
    content="axial",
    series_number=2,
    acquisition=1,
)


def series(**changes: object) -> SeriesDescription:
    return replace(PLAIN, **changes)


def chosen(*study: SeriesDescription, choice: str = "best") -> list[int]:
    """Indices of the chosen series; the order of the study must not matter."""
    parsed = SeriesChoice.parse(choice)
    order = np.random.default_rng(0).permutation(len(study))
    why_not = dict(zip(order.tolist(), parsed.why_not([study[i] for i in order]), strict=True))
    assert all(not text or text[0].islower() for text in why_not.values())
    return sorted(i for i, text in why_not.items() if not text)


@pytest.mark.parametrize(
    "worse",
    [
        {"kernel": "sharp"},
        {"kernel": "unknown"},
        {"thickness_mm": 1.0, "spacing_mm": 1.0, "num_slices": 140},
        {"contrast": "yes"},
        {"origin": "derived"},
        {"origin": "unknown"},
        {"content": "mip", "origin": "derived"},
        {"content": "perfusion"},
        {"content": "reformat"},
        {"coverage_mm": 70.0},
        {"coverage_mm": 20.0, "num_slices": 4, "thickness_mm": 5.0},
        {"coverage_mm": 130.0},
        {"num_slices": 27},
        {"series_number": 3},
        {"series_number": -1},
        {"uid": "1.6"},
    ],
)
def test_what_counts_against_a_series(worse: dict) -> None:
    assert chosen(series(**{"uid": "1.6", **worse}), PLAIN) == [1]
    # Even if it has the lower number and the lower UID.
    lower = {"uid": "1.1", "series_number": 1, **worse}
    if set(worse) - {"uid", "series_number"}:
        assert chosen(series(**lower), PLAIN) == [1]


def test_questions_are_asked_in_order() -> None:
    derived_soft = series(uid="1.6", origin="derived")
    contrast_soft = series(uid="1.7", contrast="yes")
    sharp = series(uid="1.8", kernel="sharp", thickness_mm=1.0)
    assert chosen(derived_soft, contrast_soft, sharp) == [2]
    assert chosen(derived_soft, contrast_soft) == [1]


def test_a_neck_in_the_same_study_does_not_outdo_the_head() -> None:
    neck = series(uid="1.1", series_number=1, coverage_mm=300.0, thickness_mm=2.0)
    assert chosen(neck, PLAIN) == [1]


def test_a_few_soft_slices_do_not_outdo_a_whole_sharp_series() -> None:
    monitoring = series(uid="1.6", coverage_mm=5.0, num_slices=1, spacing_mm=0.0)
    assert chosen(monitoring, series(kernel="sharp")) == [1]


def test_unknown_is_never_refused() -> None:
    unknown = SeriesDescription(
        "1.9", 1, 30, "unknown", 0.0, 5.0, 150.0, "unknown", "unknown", "unknown", -1, -1
    )
    assert chosen(unknown) == [0]
    assert chosen(unknown, series(content="mip", origin="derived")) == [0]


def test_a_study_without_a_plain_series_gives_what_it_has() -> None:
    assert chosen(series(content="mip", origin="derived")) == [0]


def test_of_two_passes_the_repeat_wins_and_of_time_points_the_first() -> None:
    passes = [series(number_of_pass=number) for number in range(1, 6)]
    assert chosen(*passes[:2]) == [1]
    assert chosen(*passes) == [0]


def test_all_takes_everything() -> None:
    assert chosen(PLAIN, series(content="mip"), choice="all") == [0, 1]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("kernel=soft", [0, 1]),
        ("kernel=soft|sharp", [0, 1, 2]),
        ("kernel!=sharp", [0, 1, 3]),
        ("thickness<=2", [1, 2]),
        ("thickness>2", [0, 3]),
        ("kernel=soft, thickness<6 ,contrast!=yes", [0]),
        ("number=4", [2]),
        ("slices>=100", [1]),
        ("content=perfusion", []),
    ],
)
def test_expressions(expression: str, expected: list[int]) -> None:
    study = (
        PLAIN,
        series(uid="1.6", thickness_mm=1.0, contrast="yes", num_slices=140),
        series(uid="1.7", kernel="sharp", thickness_mm=0.0, spacing_mm=2.0, series_number=4),
        series(uid="1.8", kernel="unknown"),
    )
    assert chosen(*study, choice=expression) == expected


def test_an_unknown_number_is_neither_small_nor_large() -> None:
    unknown = series(thickness_mm=0.0, spacing_mm=0.0, num_slices=1)
    assert chosen(unknown, choice="thickness<=6") == []
    assert chosen(unknown, choice="thickness>0") == []
    assert chosen(unknown, choice="thickness!=5") == [0]


@pytest.mark.parametrize(
    "text",
    ["", "bset", "kernel", "kernel=hard", "kernel<soft", "name=x", "thickness<=thin",
     "thickness<=nan", "kernel=soft,", "kernel=soft;thickness<6"],
)  # fmt: skip
def test_wrong_choices_are_refused_with_the_names(text: str) -> None:
    with pytest.raises(ConfigError, match="kernel .soft, sharp, unknown.*thickness"):
        SeriesChoice.parse(text)
