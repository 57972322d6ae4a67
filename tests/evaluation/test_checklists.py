"""Checklists: their items, and answers that a run can give."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from ich_tf.evaluation import checklist_facts
from ich_tf.evaluation.checklist_facts import Fact, checklist_rows
from ich_tf.evaluation.checklist_items import CLAIM, TRIPOD_AI, ChecklistItem


def test_claim_has_44_items_and_tripod_27() -> None:
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    numbers = [re.fullmatch(r"(\d+)([a-g]?)", item.number) for item in TRIPOD_AI]
    assert all(numbers)
    groups = itertools.groupby(numbers, key=lambda match: int(match[1]) if match else 0)
    letters = {number: "".join(match[2] for match in of if match) for number, of in groups}
    assert list(letters) == list(range(1, 28))
    for part in letters.values():
        assert part == "abcdefg"[: len(part)]
    assert sum(map(len, letters.values())) + list(letters.values()).count("") == 52


@pytest.mark.parametrize("items", [CLAIM, TRIPOD_AI])
def test_every_fact_that_an_item_asks_for_can_be_known(
    items: tuple[ChecklistItem, ...],
) -> None:
    source = Path(checklist_facts.__file__).read_text("utf-8")
    for item in items:
        assert not item.fact or f'"{item.fact}"' in source


def test_what_is_not_known_is_blank_and_what_is_in_part_says_so() -> None:
    items = (
        ChecklistItem("1", "Data", "sources", "data"),
        ChecklistItem("2", "Data", "dates", "dates"),
        ChecklistItem("3", "Data", "model", "model"),
        ChecklistItem("4", "Data", "funding"),
    )
    facts = {"data": Fact("a | b"), "model": Fact("a network", True)}
    rows = [(mark, answer) for _, mark, answer in checklist_rows(items, facts)]
    assert rows == [("[~]", "a / b"), ("[ ]", ""), ("[x]", "a network"), ("[ ]", "")]
