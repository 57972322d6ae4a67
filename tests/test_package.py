"""What is built: a wheel and an sdist that hold all that is needed, and nothing else."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ich_tf import __version__
from tests.support.commands import ROOT


def copy_checkout(target: Path) -> None:
    """The checkout as git would commit it, written now: other times, another place."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())


def build(source: Path, out: Path, umask: int = 0o022) -> Path:
    """As `make dist` builds. Returns `out`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=source, check=True, capture_output=True, umask=umask,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist."""
    folder = tmp_path_factory.mktemp("built")
    copy_checkout(folder / "source")
    return build(folder / "source", folder / "dist")


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "ich_tf").rglob("*.py")}


def test_the_wheel_holds_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"ich_tf-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "ich-tf = ich_tf.__main__:main" in archive.read(points).decode()
    assert {name.split("/")[0] for name in names} == {"ich_tf", f"ich_tf-{__version__}.dist-info"}
    assert {name for name in names if name.endswith(".py")} == modules()
    assert {f"ich_tf/configs/{path.name}" for path in (ROOT / "configs").iterdir()} <= names
    for folder in ("serving/static", "serving/templates", "runtime/templates"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ich_tf" / folder).iterdir()}
        assert files <= names
    assert "ich_tf/py.typed" in names


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
        archive.extractall(tmp_path, filter="data")
    assert modules() | {"pyproject.toml", "README.md", "LICENSE", "configs/base.flags"} <= names
    assert not any(name.startswith(("tests/", "tools/")) for name in names)
    (source,) = tmp_path.iterdir()
    again = build(source, tmp_path / "dist")
    (wheel,) = built.glob("*.whl")
    assert (again / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_same_files_build_the_same_bytes(built: Path, tmp_path: Path) -> None:
    copy_checkout(tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1e9, 1e9))
    again = build(tmp_path / "elsewhere", tmp_path / "dist", umask=0o077)
    assert {path.name for path in again.iterdir()} == {path.name for path in built.iterdir()}
    for path in built.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_versions_follow_the_changelog() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == __version__
    assert f"pip install ich_tf-{__version__}-py3" in (ROOT / "docs/kaggle.md").read_text("utf-8")


def test_locked_packages_keep_the_extras_that_others_require() -> None:
    lines = (ROOT / "requirements-dev.lock").read_text("utf-8").splitlines()
    locked: dict[str, set[str]] = {}
    for line in lines:
        if line[:1].isalpha():
            package = Requirement(line.rstrip(" \\"))
            locked.setdefault(canonicalize_name(package.name), set()).update(package.extras)
    required = {
        (canonicalize_name(requirement.name), extra)
        for package in distributions()
        if canonicalize_name(package.name) in locked
        for requirement in map(Requirement, package.requires or ())
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        for extra in requirement.extras
    }
    assert ("coverage", "toml") in required
    assert {(name, extra) for name, extra in required if extra not in locked[name]} == set()
