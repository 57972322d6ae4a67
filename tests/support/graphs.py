"""Operations of a graph that TensorFlow launches one by one."""

from collections.abc import Iterable
from typing import Any

# Operations that compute nothing.
_TRIVIAL = {
    *("Const", "Placeholder", "Identity", "IdentityN", "NoOp", "ReadVariableOp"),
    *("VarHandleOp", "_Arg", "_Retval"),
}


def count_nodes(graph_def: Any) -> int:
    """Number of operations in a graph and all functions that it calls, outside of XLA's code.

    Operations that compute nothing do not count, a call of compiled code neither.
    """
    functions = {function.signature.name: function for function in graph_def.library.function}

    def count(nodes: Iterable[Any]) -> int:
        total = 0
        for node in nodes:
            if node.op in _TRIVIAL or node.attr["_XlaMustCompile"].b:
                continue
            total += 1
            for attribute in node.attr.values():
                for called in [attribute.func, *attribute.list.func]:
                    function = functions.get(called.name)
                    if function is not None and not function.attr["_XlaMustCompile"].b:
                        total += count(function.node_def)
        return total

    return count(graph_def.node)
