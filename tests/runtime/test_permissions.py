"""Who may read what is made: under every umask, of commands and of the files that hold secrets."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ich_tf.errors import InputError, UsageError
from ich_tf.runtime.files import remove_temporaries_of, temporary_path, write_text
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.runtime.permissions import READERS, check_secret_file, own_file, restrict
from tests.support.commands import ROOT


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    former = os.umask(0o022)
    yield
    os.umask(former)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("before", [0o000, 0o002, 0o022, 0o027, 0o077])
@pytest.mark.parametrize("readers", READERS)
def test_readers_and_the_umask_both_take_rights_away(
    readers: str, before: int, tmp_path: Path
) -> None:
    os.umask(before)
    restrict(readers)
    write_text(tmp_path / "file", "")
    (tmp_path / "folder").mkdir()
    assert mode(tmp_path / "file") == 0o666 & ~before & ~READERS[readers]
    assert mode(tmp_path / "folder") == 0o777 & ~before & ~READERS[readers]
    assert not mode(tmp_path / "folder") & 0o022, "nobody else writes"


def test_a_private_file_is_one_whatever_the_umask(tmp_path: Path) -> None:
    os.umask(0)
    write_text(tmp_path / "a", "text", is_private=True)
    own_file(tmp_path / "b")
    (tmp_path / "c").touch(0o666)
    own_file(tmp_path / "c")
    assert [mode(tmp_path / name) for name in "abc"] == [0o600] * 3


def plant_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def plant_hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def plant_fifo(path: Path, target: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [plant_link, plant_hard_link, plant_fifo])
def test_what_others_put_under_a_foreseeable_name_is_not_written_to(plant, tmp_path: Path) -> None:
    """A link in a shared folder would have its target overwritten."""
    target = tmp_path / "target"
    target.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    plant(out / ".lock", target)
    with pytest.raises(InputError, match=r"\.lock: is not a file|cannot be written .*links"):
        FolderLock(out).take()
    plant(out / "store", target)
    with pytest.raises((InputError, OSError)):
        own_file(out / "store")
    assert target.read_text() == "precious"


def test_temporaries_of_a_file_are_its_own_alone(tmp_path: Path) -> None:
    ours, others = temporary_path(tmp_path / "a.csv"), temporary_path(tmp_path / "a_series.csv")
    for path in (ours, others):
        path.touch()
    remove_temporaries_of(tmp_path / "a.csv")
    assert not ours.exists() and others.exists()


@pytest.mark.parametrize(("bits", "is_fine"), [(0o600, True), (0o400, True), (0o640, False)])
def test_a_secret_that_others_may_read_is_refused(bits: int, is_fine: bool, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch()
    path.chmod(bits)
    if is_fine:
        check_secret_file(path, "--hash_key_file")
        return
    with pytest.raises(UsageError, match=rf"key: other users .*mode 640.*chmod 600 {path}"):
        check_secret_file(path, "--hash_key_file", UsageError)


def test_a_device_or_folder_is_no_secret(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), tmp_path):
        with pytest.raises(InputError, match="is no file of a secret, but a folder or device"):
            check_secret_file(path, "--hash_key_file")


def test_a_secret_of_an_administrator_is_theirs(tmp_path: Path) -> None:
    check_secret_file("/etc/passwd" if os.geteuid() else "/proc/none", "--hash_key_file")
    check_secret_file(tmp_path / "none", "--hash_key_file")  # left to its reader


def modes_below(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): mode(path) for path in sorted(folder.rglob("*"))}


def convert(dicom_dir: Path, out: Path, umask: int, *flags: str) -> dict[str, int]:
    subprocess.run(
        [
            *(sys.executable, "-m", "ich_tf.make_tfrecords", f"--dicom_dir={dicom_dir}"),
            *("--labels_csv=", f"--out_dir={out}", "--image_size=16", "--num_workers=1", *flags),
        ],
        cwd=ROOT,
        umask=umask,
        check=True,
        capture_output=True,
    )
    return {".": mode(out), **modes_below(out)}


@pytest.mark.parametrize(
    ("umask", "flags", "expected"),
    [
        (0o000, (), {0o600, 0o700}),
        pytest.param(0o022, (), {0o600, 0o700}, marks=pytest.mark.slow),
        pytest.param(0o002, ("--readable_by=group",), {0o640, 0o750}, marks=pytest.mark.slow),
        pytest.param(0o000, ("--readable_by=everyone",), {0o644, 0o755}, marks=pytest.mark.slow),
        pytest.param(0o077, ("--readable_by=everyone",), {0o600, 0o700}, marks=pytest.mark.slow),
    ],
)
def test_a_conversion_is_its_owners_alone(
    umask: int, flags: tuple[str, ...], expected: set[int], phantom_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "dicom"
    source.mkdir()
    for path in sorted((phantom_dir / "stage_2_test").iterdir())[:3]:
        (source / path.name).write_bytes(path.read_bytes())
    modes = convert(source, tmp_path / "out", umask, *flags)
    assert set(modes.values()) <= expected, modes
    assert len(modes) > 5
