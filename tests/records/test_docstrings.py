"""The examples in the docstrings of records are true."""

import doctest
import importlib

import pytest

MODULES = (
    "bags", "data_files", "epoch_order", "exam_labels", "exam_statistics", "example", "images",
    "manifest", "mask_images", "mask_statistics", "neighbours", "shard_index", "shard_labels",
    "splits", "statistics", "tfrecord",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"ich_tf.records.{name}"))
    assert results.attempted and not results.failed
