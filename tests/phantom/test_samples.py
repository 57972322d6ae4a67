"""Samples: one series a subtype and one without a bleed, copied whole, each once."""

from pathlib import Path

import pytest

from ich_tf.errors import InputError
from ich_tf.labels import SUBTYPES, read_labels
from ich_tf.phantom import PhantomConfig, write_dataset
from ich_tf.phantom.samples import NO_BLEED, write_samples

# Nine patients are drawn for these.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantoms_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of which most are held out, enough for a series of each subtype."""
    folder = tmp_path_factory.mktemp("samples") / "phantoms"
    config = PhantomConfig(
        num_patients=9, matrix=32, test_fraction=0.85, bleed_fraction=0.8, followup_fraction=0.5
    )
    write_dataset(folder, config, num_workers=1)
    return folder


def test_a_series_for_each_subtype_and_one_without(phantoms_dir: Path, tmp_path: Path) -> None:
    descriptions = write_samples(phantoms_dir, tmp_path / "samples")
    assert list(descriptions) == [*SUBTYPES, NO_BLEED]
    labels = read_labels(phantoms_dir / "stage_2_test_labels.csv")
    copied = []
    for name, description in descriptions.items():
        folder = tmp_path / "samples" / name
        assert (folder / "description.txt").read_text() == f"{description}\n"
        images = sorted(path.stem for path in folder.glob("*.dcm"))
        positives = labels.loc[images].sum()
        copied += images
        if name == NO_BLEED:
            assert description == f"{len(images)} slices; no bleed."
            assert not positives["any"]
        else:
            assert f"{name} in {positives[name]}" in description
        for image in images:
            original = phantoms_dir / "stage_2_test" / f"{image}.dcm"
            assert (folder / f"{image}.dcm").read_bytes() == original.read_bytes()
    assert len(set(copied)) == len(copied)


def test_phantoms_without_a_test_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stage_2_test: no such folder\. Run .*make_phantoms"):
        write_samples(tmp_path, tmp_path / "samples")
    assert not (tmp_path / "samples").exists()
