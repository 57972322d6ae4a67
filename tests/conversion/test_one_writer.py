"""A folder of shards has one writer, and what is not of its plan is refused by name."""

import shutil
from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.repair import repair
from ich_tf.conversion.summary import finish
from ich_tf.conversion.write_shard import shard_tasks, write_shard
from ich_tf.dicom.listing import named_sources
from ich_tf.errors import DataError, InputError
from ich_tf.records.data_files import sidecar_path
from ich_tf.records.sidecar import read_sidecar
from ich_tf.runtime.folder_lock import LOCK, FolderLock
from tests.support.conversions import config_for, files_of


def test_a_second_run_is_refused_and_changes_nothing(phantom_dir: Path, data_copy: Path) -> None:
    with FolderLock(data_copy):
        before = files_of(data_copy)
        with pytest.raises(InputError, match=f"{data_copy}: another run writes there"):
            convert(config_for(phantom_dir, data_copy, image_size=64))
        with pytest.raises(InputError, match="another run writes there"):
            repair(data_copy, ())
        assert files_of(data_copy) == before


def test_a_lock_is_no_content_and_no_folder_is_left(phantom_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"no DICOM file")
    config = config_for(phantom_dir, tmp_path / "a" / "out", dicom_dir=str(tmp_path / "in"))
    with pytest.raises(InputError, match="none of 1 files"):
        convert(config)
    assert not (tmp_path / "a").exists()
    (tmp_path / "a" / "out").mkdir(parents=True)
    (tmp_path / "a" / "out" / LOCK).write_text("of a killed run")
    with pytest.raises(InputError, match="none of 1 files"):
        convert(config)


def test_a_worker_of_an_ended_run_commits_nothing(data_copy: Path, phantom_dir: Path) -> None:
    plan, root = load_plan(data_copy)
    before = files_of(data_copy)
    listing = named_sources(root)
    (task,) = shard_tasks(plan, plan.shards[:1], listing, data_copy, "a run that was killed")
    with pytest.raises(DataError, match="belongs to another run"):
        write_shard(task)
    assert files_of(data_copy) == before


def test_a_shard_of_another_plan_is_refused_by_name(data_copy: Path) -> None:
    plan, _ = load_plan(data_copy)
    one, two = (data_copy / shard.name for shard in plan.shards[:2])
    shutil.copy(sidecar_path(one), sidecar_path(two))
    assert read_sidecar(two).name == one.name
    with pytest.raises(DataError, match=f"{two.name}: was written for another plan"):
        finish(data_copy, plan)
