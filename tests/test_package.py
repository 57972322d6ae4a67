"""What is built: a wheel and an sdist that hold all that is needed, and nothing else."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from ich_tf import __version__


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built of a copy: setuptools leaves folders where it builds."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    code = (
        "from setuptools import build_meta\n"
        f"build_meta.build_wheel({str(folder)!r})\n"
        f"build_meta.build_sdist({str(folder)!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return folder


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "ich_tf").rglob("*.py")}


def test_the_wheel_holds_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"ich_tf-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "ich-tf = ich_tf.cli:main" in archive.read(points).decode()
    assert {name.split("/")[0] for name in names} == {"ich_tf", f"ich_tf-{__version__}.dist-info"}
    assert {name for name in names if name.endswith(".py")} == modules()
    assert {f"ich_tf/configs/{path.name}" for path in (ROOT / "configs").iterdir()} <= names
    for folder in ("serving/static", "templates"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ich_tf" / folder).iterdir()}
        assert files <= names
    assert "ich_tf/py.typed" in names


def test_the_sdist_builds_the_same(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert modules() | {"pyproject.toml", "README.md", "LICENSE", "configs/base.flags"} <= names


def test_versions_follow_the_changelog() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == __version__
