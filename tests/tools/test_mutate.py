"""Mutation testing: survivors are printed unless tests/mutants.md explains them."""

from pathlib import Path

import pytest

from tools.mutation import campaign
from tools.mutation.campaign import Outcome
from tools.mutation.rooms import ROOMS, ROOT, Room
from tools.mutation.summary import stale, summary
from tools.mutation.survivors import Explained, Survivor, read_explained

MODULE = "ich_tf/metrics/planted.py"
PAGE = f"""# Mutants

```diff
- strict=True
+ strict=False
```

## `{MODULE}`

`Planted.explained`: nobody sees it; and `Planted.printed` is only named here.

```diff
- return 1
+ return 2

- return 3
+ return 4
```
"""


def survivor(function: str, *lines: str) -> Survivor:
    """A survivor of a diff of its function, as mutmut prints it."""
    diff = ["--- before", "+++ after", "@@ -1,2 +1,2 @@", " def planted():"]
    return Survivor.of_diff(MODULE, function, "\n".join([*diff, *lines]))


EXPLAINED = survivor("Planted.explained", "-    return 1", "+    return 2")
EVERYWHERE = survivor("other", "-    zip(a, b, strict=True)", "+    zip(a, b, strict=False)")
PLANTED = survivor("Planted.printed", "-    return 1", "+    return 2")


@pytest.fixture
def page(tmp_path: Path) -> Explained:
    path = tmp_path / "mutants.md"
    path.write_text(PAGE, "utf-8")
    return read_explained(path)


def test_a_planted_survivor_is_printed_and_an_explained_one_is_not(page: Explained) -> None:
    outcome = Outcome(killed=17, survivors=[EXPLAINED, PLANTED, EVERYWHERE])
    assert summary(MODULE, outcome, page) == [
        f"{MODULE}: `Planted.printed`\n```diff\n- return 1\n+ return 2\n```",
        f"{MODULE}: 85.0 % (17 killed, 3 survived, 2 explained)",
    ]


def test_what_is_explained_and_noticed_is_stale(page: Explained) -> None:
    outcome = Outcome(killed=1, survivors=[EXPLAINED])
    assert [text.split("\n")[2] for text in stale(MODULE, outcome, page)] == ["- return 3"]
    assert not stale("ich_tf/metrics/other.py", outcome, page)
    assert not stale(MODULE, Outcome(not_reached=1), page)


def test_the_page_explains_lines_that_are_there() -> None:
    """A line that has changed since would be explained to nobody."""
    explained = read_explained(ROOT / "tests" / "mutants.md").mutants
    modules = {module for room in ROOMS.values() for module in room.modules}
    lines = {
        module: {line.strip() for line in (ROOT / module).read_text("utf-8").splitlines()}
        for module in modules
    }
    for mutant in explained:
        taken = {line[2:] for line in mutant.change if line.startswith("-")}
        assert mutant.module in modules and taken <= lines[mutant.module], mutant.text()


@pytest.mark.slow
def test_a_fault_that_no_test_notices_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mutmut", reason="the extra `audit` brings it")
    for name, text in {
        "ich_tf/__init__.py": "",
        "ich_tf/planted.py": "def larger(a, b):\n    return a >= b\n",
        "tests/__init__.py": "",
        "tests/test_planted.py": (
            "from ich_tf.planted import larger\n\n\n"
            "def test_planted():\n    assert larger(2, 1) and not larger(1, 2)\n"
        ),
        "pyproject.toml": "",
    }.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text, "utf-8")
    monkeypatch.setattr(campaign, "ROOT", tmp_path / "root")
    room = Room(("ich_tf/planted.py",), ("tests/test_planted.py",))
    fault = Survivor("ich_tf/planted.py", "larger", ("- return a >= b", "+ return a > b"))
    found = campaign.run(room, tmp_path / "work", seconds=60, jobs=1)
    assert found == {"ich_tf/planted.py": Outcome(survivors=[fault])}
