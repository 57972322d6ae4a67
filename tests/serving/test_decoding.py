"""Files from strangers in a sandbox: whatever one does to its decoder, the next one is read."""

import dataclasses
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom.dataset import Dataset

from ich_tf.dicom.crop import head_box
from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.series import order
from ich_tf.serving import decoding
from ich_tf.serving.decoding import DecodedFile, Decoders
from ich_tf.serving.errors import DISK_FULL
from ich_tf.serving.limits import Limits
from tests.support.dicom_files import changed, make_enhanced
from tests.support.nifti_files import make_nifti, volume_of

Decode = Callable[..., list[DecodedFile]]


@pytest.fixture(scope="module")
def good(phantom_dir: Path) -> bytes:
    return sorted((phantom_dir / "stage_2_test").glob("*.dcm"))[5].read_bytes()


@pytest.fixture
def decode(tmp_path: Path) -> Iterator[Decode]:
    """Decodes bytes, by two processes unless a test says otherwise."""
    made: list[Decoders] = []
    out = tmp_path / "out"
    out.mkdir()

    def run(files: list[bytes], limits: Limits | None = None, **options: bool) -> list[DecodedFile]:
        paths = []
        for number, data in enumerate(files):
            paths.append(tmp_path / f"{number}")
            paths[-1].write_bytes(data)
        if not made or limits is not None:
            made.append(Decoders(limits or Limits()))
        decoded = list(made[-1].decode(paths, out, **options))
        assert [file.place for file in decoded] == list(range(len(files)))
        # What was read is gone, and nothing is left of what failed.
        assert not any(path.exists() for path in paths)
        assert {slice_.path for file in decoded for slice_ in file.slices} == set(out.iterdir())
        return decoded

    yield run
    for decoders in made:
        decoders.close()


def sabotaged(monkeypatch: pytest.MonkeyPatch, folder: Path, act: str) -> None:
    """Processes that do as told to files that begin with BAD, in the midst of reading them."""
    code = (
        "import json, os, signal, subprocess, sys, time\n"
        "import numpy as np\n"
        "from ich_tf.serving import upload_reader\n"
        "from ich_tf.serving.upload_reader import make_handler\n"
        "read = upload_reader.read_slices\n"
        "def read_slices(data):\n"
        "    if data.startswith(b'BAD'):\n"
        f"        {act}\n"
        "    yield from read(data)\n"
        "upload_reader.read_slices = read_slices\n"
    )
    replace_target(monkeypatch, folder, code)


def replace_target(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Lets processes run other code, which defines `make_handler`."""
    path = folder / "code"
    path.mkdir()
    (path / "replaced_decoding.py").write_text(code)
    monkeypatch.syspath_prepend(path)
    monkeypatch.setattr(decoding, "_TARGET", "replaced_decoding:make_handler")


def test_slices_are_those_of_the_reader(decode: Decode, good: bytes) -> None:
    (file,) = decode([good], find_head=True)
    (slice_,) = file.slices
    expected = read_slice(good)
    assert slice_.header == dataclasses.replace(
        expected.header,
        patient_id=decoding.pseudonym(expected.header.patient_id),
        study_id=decoding.pseudonym(expected.header.study_id),
    )
    assert expected.header.patient_id not in repr(slice_)
    np.testing.assert_array_equal(slice_.read_hu(), expected.hu)
    assert slice_.box == head_box(expected.hu, expected.header.spacing_mm) != ()
    (plain,) = decode([good])[0].slices
    assert plain.box == ()


def test_a_nifti_volume_is_known_by_its_content(decode: Decode, phantom_dir: Path) -> None:
    """No client's name comes to a decoder. What is no volume in HU is refused in plain words."""
    pytest.importorskip("nibabel")
    slices = [
        read_slice(path.read_bytes()) for path in (phantom_dir / "stage_2_test").glob("*.dcm")
    ]
    first = slices[0].header.series_id
    series = order([slice_ for slice_ in slices if slice_.header.series_id == first])
    voxels, affine = volume_of(series)
    data = make_nifti(voxels, affine)
    pair = make_nifti(voxels, affine, packed=False)[:348].replace(b"n+1", b"ni1")
    mask = make_nifti((voxels > 60).astype(np.int16), affine)
    movie = make_nifti(np.stack([voxels] * 2, axis=-1), affine)
    read, plain, *refused = decode(
        [data, gzip.decompress(data), pair, mask, movie, data[:-999], gzip.compress(b"x" * 999)]
    )
    for file in (read, plain):
        assert len(file.slices) == len(series) and not file.reason
        assert len({slice_.header.series_id for slice_ in file.slices}) == 1
        for found, expected in zip(file.slices, series, strict=True):
            np.testing.assert_array_equal(found.read_hu(), expected.hu)
            np.testing.assert_allclose(
                found.header.position_mm, expected.header.position_mm, atol=1e-3
            )
    reasons = ["BAD_HEADER", "NOT_HOUNSFIELD", "MULTI_FRAME", "TRUNCATED_PIXELS", "NESTED_ARCHIVE"]
    assert [file.reason for file in refused] == reasons
    assert all(file.message for file in refused)


def test_frames_that_cannot_be_read_are_told_of(decode: Decode) -> None:
    def change(dataset: Dataset) -> None:
        groups = dataset.PerFrameFunctionalGroupsSequence
        groups[1].PlanePositionSequence[0].ImagePositionPatient = ["1e9", "0", "0"]

    data = make_enhanced(np.arange(3 * 16 * 16, dtype=np.int16).reshape(3, 16, 16))
    (file,) = decode([changed(data, change)])
    assert [slice_.header.frame for slice_ in file.slices] == [1, 3]
    assert file.reason == "BAD_GEOMETRY"
    assert file.message.startswith("1 of 3 frames, the first 2: ImagePositionPatient is [1000000")


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "DECODER_DIED"),
        ("os._exit(0)", "DECODER_DIED"),
        ("raise ZeroDivisionError('Meier')", "INTERNAL"),
        ("time.sleep(60)", "DECODER_TIMEOUT"),
        ("any(iter(int, 1))", "DECODER_DIED"),
        ("keep = [np.ones(2**27) for _ in range(99)]", "TOO_LARGE"),
    ],
    ids=["crash", "exit", "error", "stall", "loop", "memory"],
)
def test_a_file_costs_itself_alone(
    monkeypatch: pytest.MonkeyPatch,
    decode: Decode,
    good: bytes,
    tmp_path: Path,
    act: str,
    reason: str,
) -> None:
    sabotaged(monkeypatch, tmp_path, act)
    # A silence is waited for; the others are given time to be what they are.
    silent_seconds = 0.3 if reason == "DECODER_TIMEOUT" else 1.0
    limits = Limits(decoders=1, silent_seconds=silent_seconds, decoder_mb=256)
    begun = time.monotonic()
    decoded = decode([good, b"BAD", good], limits)
    assert time.monotonic() - begun < 60
    assert [len(file.slices) for file in decoded] == [1, 0, 1]
    assert decoded[1].reason == reason and decoded[1].message
    assert "Meier" not in decoded[1].message


def test_what_a_worker_started_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, decode: Decode, good: bytes, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    sabotaged(
        monkeypatch,
        tmp_path,
        "p = subprocess.Popen(['sleep', '99']); "
        f"open({str(note)!r}, 'w').write(str(p.pid)); time.sleep(60)",
    )
    decoded = decode([b"BAD"], Limits(decoders=1, silent_seconds=0.2))
    assert decoded[0].reason == "DECODER_TIMEOUT"
    child = int(note.read_text())
    end = time.monotonic() + 5
    while time.monotonic() < end and psutil.pid_exists(child):
        if psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(child)


def test_workers_know_no_secrets_and_load_no_tensorflow(
    monkeypatch: pytest.MonkeyPatch, decode: Decode, good: bytes, tmp_path: Path
) -> None:
    note = tmp_path / "environment"
    monkeypatch.setenv("SOME_TOKEN", "secret")
    sabotaged(
        monkeypatch,
        tmp_path,
        f"open({str(note)!r}, 'w').write(json.dumps([dict(os.environ), "
        "'tensorflow' in sys.modules]))",
    )
    decode([b"BAD"])
    environment, tensorflow = json.loads(note.read_text())
    assert "SOME_TOKEN" not in environment and not tensorflow


def test_a_process_that_lies_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, decode: Decode, good: bytes, tmp_path: Path
) -> None:
    code = (
        "import dataclasses\n"
        "from ich_tf.serving import upload_reader\n"
        "from ich_tf.serving.upload_reader import make_handler\n"
        "read = upload_reader.read_slices\n"
        "def read_slices(data):\n"
        "    for slice_ in read(data):\n"
        "        header = dataclasses.replace(slice_.header, rows=4000)\n"
        "        yield dataclasses.replace(slice_, header=header)\n"
        "upload_reader.read_slices = read_slices\n"
    )
    replace_target(monkeypatch, tmp_path, code)
    (decoded,) = decode([good])
    assert decoded.reason == "DECODER_DIED" and not decoded.slices


def test_a_full_disk_is_no_fault_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decode: Decode, good: bytes
) -> None:
    code = (
        "import errno\n"
        "from pathlib import Path\n"
        "from ich_tf.serving.upload_reader import make_handler\n"
        "def full(self, data):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "Path.write_bytes = full\n"
    )
    replace_target(monkeypatch, tmp_path, code)
    (file,) = decode([good])
    assert (file.reason, file.slices) == (DISK_FULL, ())


@pytest.mark.parametrize(
    "answer", [b"[]", b"7", b"{", b"[" * 100_000, b'{"header": 3}', b'{"header": {}}', b"\xff"]
)
def test_answers_of_another_form_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, decode: Decode, good: bytes, tmp_path: Path, answer: bytes
) -> None:
    code = f"def make_handler():\n    return lambda message: [{answer!r}]\n"
    replace_target(monkeypatch, tmp_path, code)
    (decoded,) = decode([good])
    assert decoded.reason == "DECODER_DIED" and not decoded.slices


def test_a_study_is_bounded_in_time_and_size(
    monkeypatch: pytest.MonkeyPatch, decode: Decode, good: bytes, tmp_path: Path
) -> None:
    sabotaged(monkeypatch, tmp_path, "time.sleep(60)")
    limits = Limits(decoders=1, silent_seconds=0.2, reading_seconds=1.0)
    decoded = decode([b"BAD"] * 9 + [good], limits)
    assert {file.reason for file in decoded} == {"DECODER_TIMEOUT", "TIME"}
    assert decoded[-1].reason == "TIME"
    # 70 slices of 64 px fill a MiB.
    decoded = decode([good] * 70, Limits(decoders=1, decoded_mb=1))
    reasons = [file.reason for file in decoded]
    assert reasons[:60] == [""] * 60 and reasons[-1] == "TOO_LARGE"


def test_bad_files_get_a_reason_in_time(real_dicom: Path, decode: Decode, good: bytes) -> None:
    """Each file of data/bad_dicom beside a good one: what no reader takes, and what it must not."""
    folder = real_dicom.parent / "bad_dicom"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    paths = sorted(folder.glob("*.dcm"))
    decode([good])  # the workers start
    for path in paths:
        begun = time.monotonic()
        bad, fine = decode([path.read_bytes(), good])
        seconds = time.monotonic() - begun
        print(f"{path.name}: {bad.reason or 'read'}, {bad.message} {seconds:.2f} s")
        assert seconds < 10, path.name
        assert fine.slices, path.name
        assert bad.slices or (bad.reason and bad.message), path.name
