"""ONNX: the graph of an exported model for ONNX Runtime, converted by tf2onnx.

Both come with the extra `onnx`. No other module imports them.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError, UsageError
from ich_tf.inference.serving_model import ServingModel
from ich_tf.runtime.writing import writing

# Of tf2onnx 1.17 the highest; ONNX Runtime reads it from 1.14 (2023) on.
OPSET = 18
_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
# An ONNX file is one protobuf message, and these end at 2 GiB.
_MOST_BYTES = 2**31 - 2**24


def check_packages() -> None:
    """Checks that the packages of the extra `onnx` can be imported.

    Raises:
      UsageError: If one is missing, or does not fit to the others.
    """
    name = ""
    try:
        for name in _PACKAGES:
            importlib.import_module(name)
    # onnx with an older ml_dtypes than it needs fails with an AttributeError, others otherwise.
    except Exception as error:
        raise UsageError(
            f"an export as ONNX needs {', '.join(_PACKAGES)}, and {name} cannot be imported "
            f"({type(error).__name__}: {error}). Run pip install 'ich-tf[onnx]', or export with "
            "--format=saved_model."
        ) from error


def package_versions() -> dict[str, str]:
    """Versions of the packages that write and run an ONNX file, by package."""
    return {name: metadata.version(name) for name in _PACKAGES}


def write_onnx(module: ServingModel, path: Path) -> None:
    """Writes a model as an ONNX file.

    Args:
      module: Model, whose inputs and outputs the file gets.
      path: Path of the new file.

    Raises:
      InputError: If ONNX has no operation for one of the model's, or no room for its weights.
    """
    import onnx
    from tf2onnx import convert

    size = sum(variable.shape.num_elements() * variable.dtype.size for variable in module.variables)
    if size > _MOST_BYTES:
        raise InputError(
            f"the model has {size / 2**30:.1f} GiB of weights, and an ONNX file holds 2 GiB at "
            "most. Export it with --format=saved_model."
        )
    with _quiet("tf2onnx"):
        try:
            model, _ = convert.from_function(
                module.function(masks=True),
                input_signature=module.inputs,
                opset=OPSET,
                custom_op_handlers={name: (handler, []) for name, handler in _HANDLERS.items()},
            )
        # Whatever an operation of a network makes of the converter.
        except Exception as error:
            raise _inconvertible(f"{type(error).__name__}: {error}") from error
    # tf2onnx leaves operations that it does not know as they are.
    unknown = {node.op_type for node in _nodes(model.graph) if not _is_known(node)}
    if unknown:
        raise _inconvertible(f"no operation for {', '.join(sorted(unknown))}")
    with writing(path):
        onnx.save_model(model, str(path))


def onnx_answers(
    path: str | Path, hu: np.ndarray, z_mm: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Runs an ONNX file by ONNX Runtime, on the CPU.

    Args:
      path: Path of the file.
      hu: Hounsfield units of n slices, float32 [n, h, w].
      z_mm: Positions along the normal of the series, mm, float32 [n]; None for a model that does
        not take them.

    Returns:
      The outputs named in `manifest.json`, as `export.answers_of`.

    Raises:
      InputError: If ONNX Runtime cannot run the file.
    """
    import onnxruntime

    inputs = {"hu": hu} if z_mm is None else {"hu": hu, "z_mm": z_mm}
    try:
        session = onnxruntime.InferenceSession(
            Path(path).read_bytes(), providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))
    # The classes of its errors are private.
    except Exception as error:
        raise _inconvertible(f"ONNX Runtime: {error}") from error


def _inconvertible(reason: str) -> InputError:
    return InputError(
        f"the model cannot be written as ONNX ({reason}). Export it with --format=saved_model."
    )


def _nodes(graph: Any) -> Iterator[Any]:
    """The operations of a graph and of the bodies of its loops and branches."""
    import onnx

    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _is_known(node: Any) -> bool:
    import onnx

    return bool(onnx.defs.has(node.op_type, node.domain))


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Mutes a logger, that of a library whose errors are raised."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


def _log1p(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """log(1 + x): of probabilities alone, where rounding 1 + x moves a logit by 1e-7 at most."""
    above = graph.make_node("Add", [node.input[0], _one(graph, node)])
    _replace(graph, node, "Log", above.output)


def _erfc(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """1 - erf(x), of which Keras makes GELU with TensorFlow 2.21."""
    erf = graph.make_node("Erf", [node.input[0]])
    _replace(graph, node, "Sub", [_one(graph, node), erf.output[0]])


def _upper_bound(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """The number of knots [m, k] at or below each value [m, n], which `tf.searchsorted` counts."""
    knots, values = node.input
    dtype = graph.get_dtype(node.output[0])
    last = graph.make_const(f"{name}_last", np.array([-1]))
    middle = graph.make_const(f"{name}_middle", np.array([-2]))
    values = graph.make_node("Unsqueeze", [values, last.output[0]])
    knots = graph.make_node("Unsqueeze", [knots, middle.output[0]])
    above = graph.make_node("GreaterOrEqual", [values.output[0], knots.output[0]])
    ones = graph.make_node("Cast", above.output, attr={"to": dtype})
    _replace(graph, node, "ReduceSum", [ones.output[0], last.output[0]], {"keepdims": 0})


def _one(graph: Any, node: Any) -> str:
    """Name of a constant 1 of the type of a node's output."""
    from tf2onnx.utils import map_onnx_to_numpy_type

    dtype = map_onnx_to_numpy_type(graph.get_dtype(node.output[0]))
    return str(graph.make_const(f"{node.name}_one", np.array(1, dtype)).output[0])


def _replace(
    graph: Any,
    node: Any,
    operation: str,
    inputs: list[str],
    attributes: dict[str, Any] | None = None,
) -> None:
    """Puts an operation of ONNX in a node's place."""
    outputs = node.output
    shapes = [graph.get_shape(name) for name in outputs]
    dtypes = [graph.get_dtype(name) for name in outputs]
    graph.remove_node(node.name)
    graph.make_node(
        operation, inputs, name=node.name, outputs=outputs, shapes=shapes, dtypes=dtypes,
        attr=attributes,
    )  # fmt: skip


# Operations of our models that tf2onnx lacks -> what it calls for each.
_HANDLERS = {"Erfc": _erfc, "Log1p": _log1p, "UpperBound": _upper_bound}
