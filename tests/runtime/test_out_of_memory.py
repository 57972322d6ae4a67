"""Memory that ran out is one paragraph, whichever library says so."""

import pickle

import pytest
import tensorflow as tf

from ich_tf.runtime.out_of_memory import describe_out_of_memory

_GRAPH = (
    "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
    "OOM when allocating tensor with shape[9,9] and type float on GPU:0\n\t [[{{node a}}]]\n"
)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (tf.errors.ResourceExhaustedError(None, None, _GRAPH), "shape[9,9] and type float"),
        (
            tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Out of memory allocating 8."),
            "allocating 8.",
        ),
        # As an operation outside of a graph says it, while a network is built.
        (tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory [Op:Add]"), "Add"),
        (MemoryError(), "out of memory. Lower"),
        (MemoryError("Unable to allocate 8 GiB"), "(Unable to allocate 8 GiB)"),
    ],
)
def test_it_says_what_could_not_be_had(error: Exception, what: str) -> None:
    # As a fold's process sends it to the command.
    text = describe_out_of_memory(pickle.loads(pickle.dumps(error)))
    assert text is not None and what in text and "\n" not in text
    assert "Lower --batch_size, or in training raise --accumulation" in text


def test_other_errors_are_none_of_it() -> None:
    for error in (ValueError("a"), tf.errors.ResourceExhaustedError(None, None, "open files")):
        assert describe_out_of_memory(error) is None
