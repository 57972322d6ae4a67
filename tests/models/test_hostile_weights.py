"""Weights of strangers: each test is named after the advisory, or the fault, that it follows.

HDF5 links, external storage and virtual datasets: CVE-2026-1669 (Keras read files of the host).
Declared sizes: GHSA-xfhx-r7ww-5995, CVE-2026-0897. Code in models: CVE-2024-3660 (Lambda layers),
CVE-2025-1550, CVE-2025-8747 and CVE-2025-9906 (.keras), CVE-2025-9905 (.h5, for which Keras ignores
safe_mode), CVE-2025-12058 (files and addresses that a config names), CVE-2026-1462 (SavedModels).
"""

import io
import json
import os
import pickle
import random
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.models import hdf5_arrays, saved, weight_files
from ich_tf.models.hdf5_arrays import Hdf5File
from ich_tf.models.hdf5_blocks import Refused
from ich_tf.models.saved import load_model, save_best, save_epoch
from ich_tf.models.spec import ModelSpec
from ich_tf.models.variable_names import named_arrays
from ich_tf.models.weights import load_own_weights
from ich_tf.runtime.files import file_sha256, read_json, write_json
from ich_tf.runtime.keras2 import keras

SPEC = ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return SPEC.build()


@pytest.fixture
def path(model: keras.Model, tmp_path: Path) -> Path:
    """Weights of the model, for a test to spoil."""
    path = tmp_path / "best.weights.h5"
    model.save_weights(path)
    return path


def first_array(file: h5py.File) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    return names[0]


def replaced(put: Callable[[h5py.Group, str, h5py.Dataset], None]) -> Callable[[Path], None]:
    """Puts something in place of the first array; `put` is given its group, name and the array."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            name = first_array(file)
            array = file[name]
            group, _, last = name.rpartition("/")
            del file[name]
            put(file[group], last, array)

    return spoil


def in_file(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)

    return spoil


def external_link(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group[name] = h5py.ExternalLink("/etc/hostname", "/secret")


def soft_link(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group[name] = h5py.SoftLink("/elsewhere")


def external_storage(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    size = array.size * array.dtype.itemsize
    group.create_dataset(name, array.shape, array.dtype, external=[("/etc/hostname", 0, size)])


def virtual_dataset(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[...] = h5py.VirtualSource("/etc/hostname.h5", "x", array.shape)
    group.create_virtual_dataset(name, layout)


def references(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, data=array.file.ref, dtype=h5py.ref_dtype)


def region_references(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, data=array.regionref[...], dtype=h5py.regionref_dtype)


def variable_length(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, (3,), h5py.vlen_dtype(np.float32))


def opaque(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, data=np.zeros(3, np.void(b"abcd").dtype))


def compound(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, data=np.zeros(3, [("a", "f4"), ("b", "f4")]))


def texts(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, data=np.array([b"abc"]))


def integers(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group[name] = np.zeros(array.shape, np.int32)


def declares_terabytes(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(64, 64), compression="gzip")


def declares_without_storing(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, array.shape, "f4", chunks=True, compression="gzip")


def in_blosc(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group.create_dataset(name, data=array[()], chunks=array.shape, compression="lzf")


def committed_type(group: h5py.Group, name: str, array: h5py.Dataset) -> None:
    group["type"] = np.dtype("f4")
    group.create_dataset(name, array.shape, dtype=group["type"])


def cycle(file: h5py.File) -> None:
    file["layers/back"] = file["layers"]


def two_names(file: h5py.File) -> None:
    file["layers/again"] = file[first_array(file)]


def more_arrays(file: h5py.File) -> None:
    file["layers/more/vars/0"] = np.zeros(3, "f4")


def deep(file: h5py.File) -> None:
    file["/".join("abcdefgh" * 8)] = np.zeros(3, "f4")


def appended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"PK\x05\x06")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def user_block(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["layers/a/vars/0"] = np.zeros(3, "f4")


def newer_layout(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["layers/a/vars/0"] = np.zeros(3, "f4")


def keras_archive(path: Path) -> None:
    config = {"module": "os", "class_name": "system", "config": {"command": "touch pwned"}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"layers": [1, 2]}))


def pickled_arrays(path: Path) -> None:
    data = io.BytesIO()
    np.save(data, np.array([{"a": 1}], object), allow_pickle=True)
    path.write_bytes(data.getvalue())


def sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 40)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CASES = [
    (replaced(external_link), "an external link, layers/.*, to an object of another file"),
    (replaced(soft_link), "a soft link, layers/"),
    (replaced(external_storage), r"lie in another file \(external storage\)"),
    (replaced(virtual_dataset), "a virtual dataset|newer layout"),
    (replaced(references), "of references; expected float32"),
    (replaced(region_references), "of references; expected float32"),
    (replaced(variable_length), "of values of variable length"),
    (replaced(opaque), "of opaque values"),
    (replaced(compound), "of compounds"),
    (replaced(texts), "of strings"),
    (replaced(integers), "of integers; expected float32"),
    (replaced(declares_terabytes), r"has the shape \[1048576, 1048576\], the model's"),
    (replaced(declares_without_storing), "declares more numbers than it holds"),
    (replaced(in_blosc), "in a compression that is not read here"),
    (replaced(committed_type), "a committed datatype"),
    (in_file(cycle), "a second name for one object, layers/back"),
    (in_file(two_names), "a second name for one object, layers/"),
    (in_file(more_arrays), "arrays, the model .*: 'layers/more/vars/0' is none of the model's"),
    (in_file(deep), "groups within groups"),
    (appended, "cut short or continued"),
    (cut_short, "cut short or continued"),
    (user_block, "no HDF5 file|user block"),
    (newer_layout, "in a newer layout of HDF5"),
    (keras_archive, "a zip archive, as .keras files.* can hold code"),
    (pickled, "a pickle.* can hold code"),
    (pickled_arrays, "an array of NumPy"),
    (sparse, "1048576 MiB, where the model's weights have 0"),
    (a_pipe, "no file, but a folder, pipe or device"),
]


@pytest.mark.parametrize(("spoil", "message"), CASES)
def test_what_is_no_plain_array_is_refused(
    spoil: Callable[[Path], None], message: str, model: keras.Model, path: Path
) -> None:
    spoil(path)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        load_own_weights(model, path)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spoil", [replaced(external_link), keras_archive, newer_layout])
def test_initial_weights_say_what_was_found_and_what_is_expected(
    spoil: Callable[[Path], None], path: Path
) -> None:
    spoil(path)
    with pytest.raises(InputError, match="not weights of this tiny .*Expected keras.applications"):
        SPEC.build(weights=str(path))


def test_cve_2025_9905_the_config_of_a_whole_model_is_never_read(tmp_path: Path) -> None:
    """Its Lambda layer would run code, had anyone looked at it."""
    images = keras.Input((32, 32, 3))
    donor = keras.Model(images, keras.layers.Conv2D(4, 3)(images))
    path = tmp_path / "whole.h5"
    with h5py.File(path, "w") as file:
        config = {"class_name": "Lambda", "config": {"function": "import os; os.abort()"}}
        file.attrs["model_config"] = json.dumps(config)
        (kernel, bias), name = donor.get_weights(), donor.layers[1].name
        group = file.create_group(f"model_weights/{name}")
        file["model_weights"].attrs["layer_names"] = [name.encode()]
        group.attrs["weight_names"] = [b"k:0", b"b:0"]
        group["k:0"], group["b:0"] = kernel + 1, bias + 2
    weight_files.load_application(donor, weight_files.read_weight_file(path, donor))
    np.testing.assert_array_equal(donor.get_weights()[0], kernel + 1)
    np.testing.assert_array_equal(donor.get_weights()[1], bias + 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b"other"], "the name of a layer that it lacks, other"),
        ([b".."], "the name of a layer that it lacks"),
        ([b"a"], "the name of an array that it lacks, a/../../b"),
    ],
)
def test_names_in_attributes_lead_nowhere_else(
    names: list[bytes], message: str, model: keras.Model, tmp_path: Path
) -> None:
    path = tmp_path / "notop.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
        file.create_group("a").attrs["weight_names"] = [b"../../b"]
    with pytest.raises(Refused, match=message):
        weight_files.load_application(model, weight_files.read_weight_file(path, model))


def test_a_gzip_bomb_ends_at_the_size_that_was_declared(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("a", (64,), "f4", chunks=(64,), compression="gzip")
        array.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 24)))
    content = Hdf5File(path.read_bytes())
    with pytest.raises(Refused, match="a chunk of 260 bytes instead of 256"):
        content.read("a")


def test_chunks_far_larger_than_their_array_are_not_decompressed() -> None:
    """Each chunk alone would be allowed; 2,000 of a megabyte held 8,000 bytes of the array."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file.create_dataset(
            "a", (1, 1, 8, 1), "f4", chunks=(512, 512, 1, 1), maxshape=(None,) * 4,
            compression="gzip", data=np.zeros((1, 1, 8, 1), "f4"),
        )  # fmt: skip
    with pytest.raises(Refused, match="a with chunks far larger than itself"):
        Hdf5File(data.getvalue()).read("a")


def test_checksums_are_refused_and_not_cut_off() -> None:
    """A changed byte of such a chunk was read once."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file.create_dataset("a", data=np.arange(100.0), chunks=(100,), fletcher32=True)
    with pytest.raises(Refused, match=r"not read here \(filter 3\)"):
        Hdf5File(data.getvalue()).read("a")


def test_texts_are_bounded_each_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many texts may lie at one place: a file of a megabyte asked for gigabytes."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file.attrs.create("few", ["x" * 1024] * 3, dtype=h5py.string_dtype())
        file.attrs.create("long", ["x" * 1025], dtype=h5py.string_dtype())
        file.attrs["fixed"] = [b"x" * 1025]
    content = Hdf5File(data.getvalue())
    assert content.texts("", "few") == ["x" * 1024] * 3
    for name in ("long", "fixed"):
        with pytest.raises(Refused, match="texts of more than 1024 bytes each"):
            content.texts("", name)
    monkeypatch.setattr(hdf5_arrays, "_MOST_TEXTS_BYTES", 4000)
    content = Hdf5File(data.getvalue())
    content.texts("", "few")
    with pytest.raises(Refused, match="or 4000 together"):
        content.texts("", "few")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 2)},
        {"compression": "gzip", "shuffle": True, "chunks": (4, 5)},
    ],
)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1"])
def test_arrays_are_h5py_s(options: dict, dtype: str) -> None:
    expected = np.random.default_rng(0).uniform(0, 99, (7, 5)).astype(dtype)
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file.create_dataset("a/b", data=expected, **options)
        file["number"], file["empty"] = np.float32(3), np.zeros((0, 4), "f4")
        for number in range(40):
            file[f"many/{number}"] = np.arange(number)
    content = Hdf5File(data.getvalue())
    assert len(content.arrays) == 43
    np.testing.assert_array_equal(content.read("a/b"), expected)
    assert content.read("a/b").dtype == expected.dtype
    assert content.read("number") == 3 and content.read("empty").shape == (0, 4)
    np.testing.assert_array_equal(content.read("many/39"), np.arange(39))


def test_damaged_files_end_in_a_reason_or_in_arrays_of_the_declared_shapes(path: Path) -> None:
    whole, rng = path.read_bytes(), random.Random(0)
    # Where names and addresses lie; the rest is numbers.
    structure = [at for at in range(0, len(whole), 8) if any(whole[at : at + 8])]
    reasons = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.choice(structure) + rng.randrange(8)
            if at < len(data):
                data[at] = rng.choice([0, 1, 255, data[at] ^ (1 << rng.randrange(8))])
        try:
            content = Hdf5File(bytes(data))
            for name, array in content.arrays.items():
                if array.num_bytes < 1 << 20:
                    assert content.read(name).shape == array.shape
        except Refused:
            reasons += 1
    assert 30 < reasons < 300


def test_the_number_of_objects_is_bounded(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(hdf5_arrays, "_MOST_OBJECTS", 5)
    with pytest.raises(Refused, match="more than 5 groups and arrays"):
        Hdf5File(path.read_bytes())


def test_a_file_replaced_after_the_check_is_not_loaded(
    model: keras.Model, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes whose hash was compared are those that are loaded."""
    save_best(tmp_path, model, SPEC, epoch=1, val_loss=0.5)
    read = saved.read_weight_file

    def replaced_then(*args):
        file = read(*args)
        path.write_bytes(b"another file")
        return file

    monkeypatch.setattr(saved, "read_weight_file", replaced_then)
    loaded, _, sha256 = load_model(tmp_path)
    assert sha256 == read_json(tmp_path / "model.json")["sha256"] != file_sha256(path)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_an_epoch_are_compared_with_their_noted_hash(
    model: keras.Model, tmp_path: Path
) -> None:
    save_best(tmp_path, model, SPEC, epoch=1, val_loss=0.5)
    save_epoch(tmp_path, model, 1)
    weights = "epochs/epoch-001.weights.h5"
    assert load_model(tmp_path, weights)[2] == file_sha256(tmp_path / weights)
    hashes = tmp_path / "epochs" / "sha256.json"
    for content in ({"epoch-001.weights.h5": "0" * 64}, {}, []):
        write_json(hashes, content)
        with pytest.raises(InputError, match="its SHA-256 is not the one that was noted"):
            load_model(tmp_path, weights)
    hashes.unlink()
    load_model(tmp_path, weights)


def test_names_are_those_that_keras_writes(model: keras.Model, path: Path) -> None:
    content = Hdf5File(path.read_bytes())
    arrays = named_arrays(model)
    assert set(arrays) == set(content.arrays) and len(arrays) == len(model.weights)
    for name, array in arrays.items():
        np.testing.assert_array_equal(content.read(name), array)


def test_saving_follows_no_link_that_is_in_the_folder_already(
    model: keras.Model, tmp_path: Path
) -> None:
    """The temporary file had a known name once, and a link of that name was written through."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    run = tmp_path / "run"
    (run / "epochs").mkdir(parents=True)
    for name in ("best.weights.h5", ".tmp.best.weights.h5"):
        (run / name).symlink_to(mine)
    for name in ("epoch-001.weights.h5", ".tmp.epoch-001.weights.h5", "sha256.json.tmp"):
        (run / "epochs" / name).symlink_to(mine)
    save_best(run, model, SPEC, epoch=1, val_loss=0.5)
    save_epoch(run, model, 1)
    assert mine.read_text() == "mine"
    assert load_model(run)[2] == file_sha256(run / "best.weights.h5")
    assert not [path for path in run.rglob(".*") if path.name.endswith(".tmp")]
