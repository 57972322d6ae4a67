"""Specs, lists of members and calibrations of strangers: they name no code, and no giants.

A work dir that names a module is what CVE-2025-1550 (Keras imported what a config names) was.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ich_tf.errors import DataError, InputError
from ich_tf.inference.ensemble import Member, find_members, write_ensemble
from ich_tf.inference.postprocessing.calibration_file import load_postprocessing
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.models import own_backbones
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.origins import load_origins
from ich_tf.models.run_files import BEST_WEIGHTS
from ich_tf.models.saved import Spec, load_model, read_spec, save_best
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.files import read_json, write_json

SPEC = ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"))
SERIES = SeriesSpec("bigru", 32, 4, 1, 0.0, False, (0.5,) * 6)

NETWORK = """
from pathlib import Path
from ich_tf.models.own_backbones import backbone
from ich_tf.runtime.keras2 import keras

Path(__file__).with_name("was_run").touch()

@backbone
def small(size, channels):
    images = keras.Input((size, size, channels))
    return keras.Model(images, keras.layers.Conv2D(4, 3, strides=8)(images))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of one's own that nobody has asked for yet."""
    name = "network_of_a_stranger"
    (tmp_path / f"{name}.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(own_backbones, "_ASKED_FOR", set())
    return name


def written(folder: Path, spec: Spec, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A folder whose model.json describes a spec with something changed."""
    spec_json = json.loads(json.dumps(dataclasses.asdict(spec)))
    change(spec_json)
    write_json(folder / "model.json", {"spec": spec_json, "sha256": None, "previous_sha256": None})
    return folder


def test_cve_2025_1550_a_model_that_names_a_module_does_not_run_it(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_dir = tmp_path / "run"
    work_dir.mkdir()
    written(work_dir, SPEC, lambda spec: spec.update(backbone=f"{module}:small"))
    (work_dir / BEST_WEIGHTS).touch()
    for use in (read_spec, load_model):
        with pytest.raises(InputError, match=f"ICH_TF_OWN_BACKBONES={module}"):
            use(work_dir)
    monkeypatch.setenv(own_backbones.VARIABLE, f"other, {module}_")
    with pytest.raises(InputError, match="To import a module runs its code"):
        read_spec(work_dir)
    assert not (tmp_path / "was_run").exists()
    monkeypatch.setenv(own_backbones.VARIABLE, f"other, {module}")
    assert read_spec(work_dir).backbone == f"{module}:small"


def test_a_module_that_somebody_asked_for_is_known_from_then_on(
    module: str, tmp_path: Path
) -> None:
    """So a training reads its own best weights at its end."""
    spec = ModelSpec(f"{module}:small", (32, 32, 3), 32, ("brain", "subdural", "soft"))
    save_best(tmp_path, spec.build(), spec, epoch=1, val_loss=0.5)
    assert (tmp_path / "was_run").exists()
    assert load_model(tmp_path)[1] == spec


def test_a_module_within_a_spec_of_two_models_is_none_the_better(
    module: str, tmp_path: Path
) -> None:
    spec = EndToEndSpec(SPEC, SERIES)
    written(tmp_path, spec, lambda values: values["network"].update(backbone=f"{module}:small"))
    with pytest.raises(InputError, match="so no file may ask for it"):
        read_spec(tmp_path)


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (SPEC, {"image_size": 10**9}, "image_size is 1e.09; expected 1 to 4096"),
        (SPEC, {"image_size": -32}, "image_size is -32"),
        (SPEC, {"image_size": True}, "image_size is true; expected an integer"),
        (SPEC, {"image_size": "32"}, "image_size is '32'"),
        (SPEC, {"image_size": 10**400}, "is no finite number"),
        (SPEC, {"record_shape": [10**6, 32, 3]}, "record_shape is 1e.06"),
        (SPEC, {"record_shape": [32, 32]}, "record_shape is a list of 2"),
        (SPEC, {"windows": ["brain"] * 10**5, "record_shape": [32, 32, 10**5]}, "windows are no"),
        (SPEC, {"windows": ["../a", "b", "c"]}, "windows are no names"),
        (SPEC, {"neighbours": 10**6}, "neighbours is 1e.06"),
        (SPEC, {"dropout": 1.0}, "dropout is 1; expected one in"),
        (SPEC, {"bn_momentum": -0.1}, "bn_momentum is -0.1"),
        (SPEC, {"negatives_kept": 0}, "negatives_kept is 0"),
        (SPEC, {"label_smoothing": "nan"}, "label_smoothing is 'nan'"),
        (SPEC, {"freeze_bn": 1}, "freeze_bn is 1; expected true or false"),
        (SPEC, {"prior": [0.5] * 5}, "expected 6 probabilities"),
        (SPEC, {"prior": ["0.5"] * 6}, "prior.0. is '0.5'"),
        (SPEC, {"prior": 0.5}, "prior is 0.5; expected a list"),
        (SPEC, {"module": "os"}, "module is unknown to this version"),
        (SPEC, {"kind": ["series"]}, "unhashable|kind is unknown"),
        (SERIES, {"units": 10**6}, "units is 1000000 with 32 features"),
        (SERIES, {"layers": 10**4}, "layers is 10000; expected 0 to 64"),
        (SERIES, {"feature_dim": 0}, "feature_dim is 0"),
        (SERIES, {"network_dirs": ["/etc"]}, "network_dirs has '/etc'"),
        (SERIES, {"network_dirs": ["a"] * 2000}, "network_dirs has 2000 entries"),
        (SERIES, {"reverse": "yes"}, "reverse is 'yes'"),
        (EndToEndSpec(SPEC, SERIES), {"network": {"kind": "end_to_end"}}, "kind is unknown"),
        (EndToEndSpec(SPEC, SERIES), {"series": []}, "does not describe a model"),
    ],
)
def test_fields_are_of_their_types_and_ranges(
    spec: Spec, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    written(tmp_path, spec, lambda values: values.update(changes))
    with pytest.raises(InputError, match=message):
        read_spec(tmp_path)


def test_specs_that_are_written_are_read(tmp_path: Path) -> None:
    for spec in (SPEC, SERIES, EndToEndSpec(SPEC, SERIES)):
        assert read_spec(written(tmp_path, spec, lambda values: None)) == spec


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"work_dir": "/etc"}, "expected a path relative"),
        ({"work_dir": "a\0b"}, "expected a path relative"),
        ({"work_dir": 3}, "work_dir is 3; expected a text"),
        ({"weights": "../../secret.h5"}, "weights that are not a run's best"),
        ({"weights": "epochs/../x.weights.h5"}, "weights that are not a run's best"),
        ({"share": True}, "share is true"),
        ({"share": "nan"}, "share is 'nan'"),
        ({"share": -1}, "shares that are not above 0"),
    ],
)
def test_members_are_weights_of_runs(member: dict[str, Any], message: str, tmp_path: Path) -> None:
    plain = {"work_dir": "../run", "weights": BEST_WEIGHTS, "share": 1.0, "sha256": ""}
    path = tmp_path / "ensemble.json"
    write_json(path, {"version": 1, "members": [plain]})
    assert find_members(tmp_path)[0].work_dir == tmp_path / "../run"
    write_json(path, {"version": 1, "members": [{**plain, **member}]})
    with pytest.raises(InputError, match=message):
        find_members(tmp_path)
    write_json(path, {"version": 1, "members": [plain] * 1001})
    with pytest.raises(InputError, match="members has 1001 entries"):
        find_members(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["../run", "../run"], "it names '../run/best.weights.h5' twice"),
        (["../run", "../x/../run/."], "it names '../run/best.weights.h5' twice"),
        ([f"../{number}" for number in range(257)], "it has 257 members; expected 256 at most"),
    ],
    ids=["twice", "twice by other paths", "many"],
)
def test_members_are_few_and_named_once(folders: list[str], message: str, tmp_path: Path) -> None:
    """Each would be loaded: a list of a few kilobytes asked for hours."""
    plain = {"weights": BEST_WEIGHTS, "share": 1.0, "sha256": ""}
    members = [{**plain, "work_dir": folder} for folder in folders]
    write_json(tmp_path / "ensemble.json", {"version": 1, "members": members})
    with pytest.raises(InputError, match=message):
        find_members(tmp_path)
    with pytest.raises(InputError, match=message):
        write_ensemble(tmp_path / "new", [Member(tmp_path / "new" / each) for each in folders])


def test_runs_that_started_from_each_other_without_end() -> None:
    entry: dict[str, Any] = {
        "origin": "run", "weights_sha256": "", "data_sha256": "", "validation_fold": 0,
        "gave_features": False, "ancestors": [],
    }  # fmt: skip
    assert load_origins({}, [entry])[0].kind == "run"
    for _ in range(400):
        entry = {**entry, "ancestors": [entry]}
    with pytest.raises(ValueError, match="started from 100 others"):
        load_origins({}, [entry])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 10**6, "nested too deeply"),
        ("1" * 10**5, "is no finite number"),
        ("[" + "0," * 10**6 + "0]", "more than 1 MiB"),
        ("\ud800", "not JSON"),
    ],
    ids=["nested", "digits", "long", "surrogate"],
)
def test_a_billion_laughs_in_json(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=message):
        read_json(path, most_bytes=1 << 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smoothing_mm": True}, "smoothing_mm is true"),
        ({"smoothing_mm": "nan"}, "smoothing_mm is 'nan'"),
        ({"flip": 1}, "flip is 1"),
        ({"thresholds": {"slice": {"youden": {"any": "nan"}}}}, "thresholds.slice.youden.any is"),
        ({"thresholds": {"slice": {"youden": {"../": 0.5}}}}, "thresholds of other classes"),
        ({"groups": [{"share": "nan"}]}, "share is 'nan'"),
        ({"groups": [{"calibrator": {"scale": [-1.0] * 6}}]}, "a scale below 0"),
        ({"groups": [{"calibrator": {"scale": ["nan"] * 6}}]}, "scale.0. is 'nan'"),
        ({"groups": [{"calibrator": {"knots": [[[1, 0], [0, 1]]] * 6}}]}, "do not ascend"),
        ({"groups": [{"calibrator": {"knots": [[[0, 1], [0, 2]]] * 6}}]}, "no probabilities"),
        ({"site": {"slope": "inf", "shift": [0] * 6}}, "slope is 'inf'"),
        ({"system": "rm"}, "system is unknown"),
    ],
)
def test_calibrations_are_of_their_types_and_ranges(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = Postprocessing(fitted_on={"losses": {}}).save(tmp_path)
    assert load_postprocessing(tmp_path, "") is not None
    content = read_json(path)
    (group,) = content["groups"]
    for name, value in changes.items():
        if name == "groups":
            (change,) = value
            calibrator = {**group["calibrator"], **change.pop("calibrator", {})}
            content["groups"] = [{**group, **change, "calibrator": calibrator}]
        else:
            content[name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_postprocessing(tmp_path, "")
