"""--flagfile: a user's files and the recipes that come along, in each other's place."""

from pathlib import Path

import pytest

from ich_tf.errors import UsageError
from ich_tf.runtime.flagfiles import expand, recipes


def test_whoever_names_a_file_wins_over_it(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("--a=1\n  --b=two words  \n")
    outer.write_text(f"# first\n\n--a=3\n// second\n--flagfile={inner}\n")
    expected = ["--a=1", "--b=two words", "--a=3", "--a=0", "--c"]
    assert expand(["--a=0", f"--flagfile={outer}", "--c"]) == expected
    assert expand(["--a=0", "-flagfile", str(outer), "--c"]) == expected
    assert expand(["--", "--flagfile=none"]) == ["--", "--flagfile=none"]


def test_recipes_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # they do not depend on where one is
    assert {"base", "resnet50", "efficientnet_b4", "series", "demo"} <= set(recipes())
    flags = expand(["--flagfile=@demo"])
    assert "--seed=0" in flags and "--backbone=resnet50" in flags, "of base, of demo"
    for name in recipes():
        assert not any("flagfile" in flag for flag in expand([f"--flagfile=@{name}"])), name


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--flagfile=@resnet: no such recipe\. .*@resnet50"):
        expand(["--flagfile=@resnet"])
    with pytest.raises(UsageError, match="none: cannot be read .No such file"):
        expand([f"--flagfile={tmp_path}/none"])
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="noise: cannot be read .not UTF-8 text"):
        expand([f"--flagfile={tmp_path}/noise"])
    loop = tmp_path / "loop"
    loop.write_text(f"--a=1\n--flagfile={loop}\n")
    with pytest.raises(UsageError, match="loop: the file includes itself"):
        expand([f"--flagfile={loop}"])


def test_a_secret_stands_in_a_file_of_its_own(tmp_path: Path) -> None:
    """A command line is everybody's to read, and so are files of the usual mode."""
    for argument in ("--token=abc", "-token=abc", "--token"):
        with pytest.raises(UsageError, match="--token is on the command line") as refused:
            expand([argument, "abc"], {"token"})
        assert "abc" not in str(refused.value)
    path = tmp_path / "my.flags"
    path.write_text("--token=abc\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="other users of this machine"):
        expand([f"--flagfile={path}"], {"token"})
    path.chmod(0o600)
    assert expand([f"--flagfile={path}"], {"token"}) == ["--token=abc"]
