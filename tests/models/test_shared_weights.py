"""Shared weights: a folder for --weights, its card, and what a run notes of it."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import combined_sha256
from ich_tf.labels import CLASSES
from ich_tf.models.origins import dump_run, load_origins, origin_of_run, origin_of_weights
from ich_tf.models.saved import save_best
from ich_tf.models.shared_weights import MeasuredScore, WeightsCard, read_card, weights_file
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.files import read_json, write_json
from tests.support.commands import Command
from tools.weights_card import add_scores, page_of, scores_of, share

SPEC = ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"))
SCORE = MeasuredScore(
    "3 patients", False, "as they are", "AUC of slices, any", 0.9, 0.8, 0.95, "python -m evaluate"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without training: weights, its files, and the set of phantoms that it claims."""
    work_dir = tmp_path_factory.mktemp("run")
    save_best(work_dir, SPEC.build(), SPEC, epoch=1, val_loss=0.5)
    folds = {"fold-0": ["a"], "fold-1": ["b", "c"], "test": ["d"]}
    origin = origin_of_run("data", 0, folds, [origin_of_weights("none")])
    write_json(work_dir / "run.json", {"data": {"sha256": "data"}, **dump_run(origin)})
    write_json(work_dir / "config.json", {"backbone": "tiny", "validation_fold": 0})
    write_json(
        work_dir / "phantoms.json", {"config": {"num_patients": 4, "seed": 9, "realism": "full"}}
    )
    return work_dir


@pytest.fixture
def shared(run: Path, tmp_path: Path) -> Path:
    share(tmp_path / "shared", run, run, [SCORE])
    return tmp_path / "shared"


def test_a_folder_starts_a_network_of_any_size_and_number_of_slices(shared: Path) -> None:
    first = SPEC.build(weights=str(shared)).weights
    other = dataclasses.replace(SPEC, record_shape=(48, 48, 3), image_size=64, crop="head")
    for loaded, original in zip(other.build(weights=str(shared)).weights, first, strict=True):
        np.testing.assert_array_equal(loaded.numpy(), original.numpy())
    wider = dataclasses.replace(SPEC, neighbours=3).build(weights=str(shared))
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 9)).astype(np.uint8)
    np.testing.assert_allclose(
        wider(image), SPEC.build(weights=str(shared))(image[..., 3:6]), atol=1e-5
    )


def test_a_run_notes_whose_weights_it_started_from(shared: Path) -> None:
    origin = origin_of_weights(str(shared))
    assert origin == origin_of_weights(str(shared / "best.weights.h5"))
    assert origin.describe().endswith(
        "(tiny of 2 synthetic patients, full) of a run trained on 2 patients"
    )
    content = json.loads(json.dumps(dump_run(origin_of_run("new", 0, {}, [origin]))))
    assert load_origins(content["patients"], content["ancestors"]) == (origin,)


def test_the_card_claims_nothing_of_real_patients_that_was_not_measured(shared: Path) -> None:
    card = read_card(shared)
    assert card.measured == (SCORE,) and card.phantoms["seed"] == 9
    assert card.claim.startswith("No score on real patients was measured, and none is claimed")
    page = (shared / "card.md").read_text("utf-8")
    assert page == page_of(card) and card.claim in page and card.weights_sha256 in page
    assert "| 3 patients | no | as they are | AUC of slices, any | 0.900 | 0.800 to 0.950 |" in page
    real = dataclasses.replace(card, measured=(dataclasses.replace(SCORE, is_real=True),))
    assert real.claim == "1 of the scores below are of real patients; no other is claimed."


def test_scores_are_noted_of_runs_from_the_weights_alone(
    shared: Path, tmp_path: Path, run_command: Command
) -> None:
    estimate = {"value": 0.75, "low": 0.7, "high": 0.8}
    scores = {
        "weighted_log_loss": {"value": 0.3, "low": None, "high": None},
        "classes": {name: {"roc_auc": estimate} for name in CLASSES},
    }
    further, other = tmp_path / "further", tmp_path / "other"
    for folder, ancestor in ((further, str(shared)), (other, "none")):
        folder.mkdir()
        (folder / "best.weights.h5").write_bytes(b"later")
        folds = {"fold-0": ["x"], "fold-1": ["y", "z"]}
        origin = origin_of_run("theirs", 0, folds, [origin_of_weights(ancestor)])
        write_json(folder / "run.json", {"data": {"sha256": "theirs"}, **dump_run(origin)})
    (further / "evaluation/test").mkdir(parents=True)
    metrics = further / "evaluation/test/metrics.json"

    def evaluated(sha256: str) -> dict[str, object]:
        model = {"sha256": combined_sha256([sha256], [1.0])}
        return {"model": model, "levels": {"slice": scores}}

    write_json(metrics, evaluated(hashlib.sha256(b"later").hexdigest()))

    def note(work_dir: Path, *flags: str, code: int = 0) -> str:
        given = [f"--weights_dir={shared}", f"--work_dir={work_dir}", *flags]
        done = run_command("tools.note_score", *given, code=code)
        return done.stdout + done.stderr

    assert note(further, "--data=3 of a hospital", "--real").startswith("7 of the scores below are")
    card = read_card(shared)
    assert len(card.measured) == 1 + 7
    assert add_scores(shared, card, card.measured) == card, "noted twice, it is there once"
    assert {score.task for score in card.measured if score.is_real} == {
        "trained further on 2 patients"
    }
    assert "| 3 of a hospital | yes | trained further" in (shared / "card.md").read_text("utf-8")
    assert "its scores are not theirs" in note(other, "--data=x", code=1)
    for content, message in (
        (evaluated("earlier"), "an evaluation of other weights than best.weights.h5"),
        ({"loss": 0.3}, r"metrics\.json: not an evaluation \(KeyError"),
    ):
        write_json(metrics, content)
        with pytest.raises(InputError, match=message):
            scores_of(metrics, "x", "evaluate", weights_sha256="later")


def test_a_folder_that_is_not_whole_is_refused_in_a_sentence(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the folder has no best.weights.h5\. Give the folder"):
        weights_file(str(tmp_path))
    (shared / "best.weights.h5").write_bytes(b"others")
    with pytest.raises(InputError, match=r"is not the file that card.json describes"):
        SPEC.build(weights=str(shared))
    card = read_json(shared / "card.json")
    (score,) = card["measured"]
    for damaged in (
        {"title": 1},
        [],
        {**card, "version": 2},
        {**card, "phantoms": []},
        {**card, "measured": [{**score, "value": "high"}]},
        {**card, "measured": [{**score, "high": None}]},
        {**card, "measured": [{**score, "is_real": "no"}]},
    ):
        write_json(shared / "card.json", damaged)
        with pytest.raises(InputError, match=r"card.json: not a card of weights"):
            weights_file(str(shared))


def test_a_card_with_a_hole_is_no_card(shared: Path) -> None:
    card = dataclasses.asdict(read_card(shared))
    with pytest.raises(ValueError, match="title"):
        WeightsCard.from_json({**card, "title": " "})
