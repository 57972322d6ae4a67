"""What goes into a bundle of each kind of models, and what stays behind."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ich_tf.errors import InputError
from ich_tf.inference.bundle_contents import bundle_files, reduced_config
from ich_tf.inference.ensemble import Member, find_members, write_ensemble
from ich_tf.models.bundle import model_folder
from ich_tf.models.bundle_archive import Content
from ich_tf.models.origins import dump_run, origin_of_run, origin_of_weights, read_origin
from ich_tf.models.shared_weights import MeasuredScore, WeightsCard, read_card
from ich_tf.runtime.files import file_sha256, read_json, write_json
from ich_tf.training.config import TrainConfig
from tests.support.bundles import fake_run, write_bundle

SECRETS = ("secret", "/data", "DOE^JANE")


def bundled(tmp_path: Path, work_dir: Path, **options: Any) -> Path:
    """Folder of the unpacked bundle of a model."""
    contents = contents_of(bundle_files(work_dir, **options))
    return model_folder(write_bundle(tmp_path / f"{work_dir.name}.zip", contents))


def contents_of(files: Mapping[str, Content]) -> dict[str, bytes]:
    return {
        name: content if isinstance(content, bytes) else content.read_bytes()
        for name, content in files.items()
    }


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def note_training(run: Path, **config: object) -> None:
    """Writes run.json and config.json as a training on a secret's machine does."""
    folds = {"fold-0": ["DOE^JANE"], "fold-1": ["b", "c"]}
    origin = origin_of_run("data", 1, folds, [origin_of_weights("none")])
    session = {"platform": "secret", "started": "2026-01-01T00:00:00Z", "cpu": "secret"}
    data = {"sha256": "data", "records": 5, "windows": ["brain"], "from": "/data/secret"}
    content = {"id": "secret", "data": data, **dump_run(origin), "sessions": [session]}
    write_json(run / "run.json", content)
    about = {
        "data_dir": "/data/secret", "work_dir": "/data/secret", "weights": "/data/secret.h5",
        "tracker": "https://secret", "backbone": "tiny", "validation_fold": "1",
        "learning_rate": 0.1, "epochs": 3, "flip": True,
    }  # fmt: skip
    write_json(run / "config.json", {**about, **config})


def test_nothing_of_patients_paths_or_machines_is_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fake_run(run, b"weights")
    note_training(run)
    score = MeasuredScore("3", True, "as it is", "AUC", 0.9, None, None, "eval --d=/data/secret/ct")
    card = WeightsCard("tiny", "ab", "1", "cd", {}, read_json(run / "config.json"), (score,))
    write_json(run / "card.json", dataclasses.asdict(card))
    (run / "card.md").write_text("# Tiny\n`data_dir=/data/secret/ct`, [1](https://x.org/a)\n")
    for name in ("history.csv", "training_curves.png", "oof_predictions.csv", "submission.csv",
                 "tensorboard/events", "checkpoints/checkpoint", "serve/secret"):  # fmt: skip
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("secret")
    folder = bundled(tmp_path, run)
    assert files_in(folder) == {
        "best.weights.h5", "model.json", "run.json", "config.json", "card.json", "card.md",
        "bundle.json",
    }  # fmt: skip
    whole = (tmp_path / "run.zip").read_bytes().decode("latin-1")
    origin = read_origin(run)
    hashes = [key for keys in origin.folds.values() for key in keys]
    assert [text for text in (*SECRETS, *hashes, str(tmp_path)) if text in whole] == []
    written = read_card(folder)
    assert written is not None and written.measured[0].command == "eval --d=ct"
    assert (folder / "card.md").read_text() == "# Tiny\n`data_dir=ct`, [1](https://x.org/a)\n"
    assert read_json(folder / "model.json")["previous_sha256"] is None
    member = Member(folder)
    assert (member.validation_fold(), member.data_sha256()) == (1, "data")
    left = read_origin(folder)
    assert left.left_out and not left.folds and left.ancestors == origin.ancestors
    # Packed again it is the same.
    first = (tmp_path / "run.zip").read_bytes()
    again = contents_of(bundle_files(tmp_path / "run.zip"))
    assert write_bundle(tmp_path / "again.zip", again).read_bytes() == first


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "mirrored", "cpu_replicas": 2, "weights": "/data/secret.h5"},
        {"sequence": "attention", "exam_weight": 0.5, "tracker": "mlflow:https://secret"},
        {"backbone": "bigru", "weights": "none", "seeds": ("1", "2"), "validation_fold": "all"},
    ],
)
def test_a_reduced_config_is_one_of_a_training(changes: dict[str, Any]) -> None:
    config = TrainConfig(data_dir="/data/secret", work_dir="/data/secret", **changes)
    text = json.dumps(reduced_config(json.loads(config.to_json())))
    assert "secret" not in text
    read = dataclasses.asdict(TrainConfig.from_json(text))
    assert {name for name, value in dataclasses.asdict(config).items() if read[name] != value} <= {
        "data_dir", "work_dir", "weights", "tracker", "seeds",
    }  # fmt: skip


def test_hashes_of_patients_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fake_run(run, b"weights")
    note_training(run)
    kept = read_origin(bundled(tmp_path, run, patient_hashes=True))
    assert kept.folds == read_origin(run).folds and not kept.left_out


def test_the_card_of_the_evaluation_is_taken_if_it_is_of_these_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fake_run(run, b"weights")
    page = run / "evaluation" / "test" / "model_card.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Card of `ab12`\n")
    assert "card.md" not in files_in(bundled(tmp_path, run, sha256="cd34"))
    assert "card.md" in files_in(bundled(tmp_path, run, sha256="ab12"))
    (tmp_path / "mine.md").write_text("# Mine\n")
    folder = bundled(tmp_path, run, card_file=str(tmp_path / "mine.md"), sha256="ab12")
    assert (folder / "card.md").read_text() == "# Mine\n"
    (run / "card.md").symlink_to(tmp_path / "mine.md")
    with pytest.raises(InputError, match="is a link"):
        bundled(tmp_path, run)
    (tmp_path / "mine.md").write_bytes(b"\xff")
    for wrong in ("mine.md", "none.md"):
        with pytest.raises(InputError, match=wrong):
            bundled(tmp_path, run, card_file=str(tmp_path / wrong))


def shape(folder: Path) -> list[tuple[str, str, float, str]]:
    """Members of a folder: place, weights' content, share and hash."""
    return [
        (
            str(member.work_dir.relative_to(folder)),
            (member.work_dir / member.weights).read_text(),
            member.share,
            member.sha256,
        )
        for member in find_members(folder)
    ]


def test_folds_and_seeds_keep_their_places(tmp_path: Path) -> None:
    work_dir = tmp_path / "seeds"
    names = [f"seed-{seed}/fold-{fold}" for seed in (0, 7) for fold in (0, 1, 10)]
    for name in names:
        fake_run(work_dir / name, name.encode())
    folder = bundled(tmp_path, work_dir)
    assert shape(folder) == shape(work_dir)
    assert [name for name, *_ in shape(folder)] == names


def test_members_of_an_ensemble_get_places(tmp_path: Path) -> None:
    hashes = [fake_run(tmp_path / name, name.encode()) for name in ("a", "b")]
    epochs = tmp_path / "a" / "epochs" / "epoch-003.weights.h5"
    epochs.parent.mkdir()
    epochs.write_bytes(b"third")
    both = tmp_path / "both"
    third = str(Path("epochs", epochs.name))
    members = [
        Member(tmp_path / "a", share=0.3, sha256=hashes[0]),
        Member(tmp_path / "b", share=0.5, sha256=hashes[1]),
        Member(tmp_path / "a", third, 0.2, file_sha256(epochs)),
    ]
    write_ensemble(both, members)
    write_json(both / "calibration.json", {"any": "thing"})
    folder = bundled(tmp_path, both)
    assert [(name, text, share) for name, text, share, _ in shape(folder)] == [
        ("member-0", "a", 0.3),
        ("member-1", "b", 0.5),
        ("member-0", "third", 0.2),
    ]
    assert [sha256 for *_, sha256 in shape(folder)] == [each.sha256 for each in members]
    assert read_json(folder / "calibration.json") == {"any": "thing"}


def test_epochs_of_a_run_stay_with_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fake_run(run, b"best")
    (run / "epochs").mkdir()
    (run / "epochs" / "epoch-002.weights.h5").write_bytes(b"second")
    write_ensemble(run, [Member(run, "epochs/epoch-002.weights.h5", 1.0, "x")])
    folder = bundled(tmp_path, run)
    assert shape(folder) == [(".", "second", 1.0, "x")]
    assert not (folder / "best.weights.h5").exists()


def test_a_series_model_brings_the_networks_that_it_reads(tmp_path: Path) -> None:
    networks = [fake_run(tmp_path / "folds" / f"fold-{i}", b"network %d" % i) for i in range(2)]
    seeds = tmp_path / "deep" / "series"
    for seed in (0, 1):
        run = seeds / f"seed-{seed}"
        dirs = [f"../../../folds/fold-{i}" for i in range(2)]
        fake_run(run, b"series %d" % seed, kind="series", networks=networks, network_dirs=dirs)
        (run / "axes.npz").write_bytes(b"axes")
    folder = bundled(tmp_path, seeds)
    assert [name for name, *_ in shape(folder)] == ["seed-0", "seed-1"]
    for seed in (0, 1):
        run = folder / f"seed-{seed}"
        spec = read_json(run / "model.json")["spec"]
        assert spec["network_dirs"] == ["../network-0", "../network-1"]
        assert [file_sha256(run / d / "best.weights.h5") for d in spec["network_dirs"]] == networks
        assert (run / "axes.npz").read_bytes() == b"axes"
    names = files_in(folder)
    assert {f"network-{i}/model.json" for i in range(2)} < names and len(names) == 11
    assert json.dumps(sorted(names)).count("best.weights.h5") == 4
