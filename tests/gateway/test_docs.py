"""docs/gateway.md explains every section, state and reason."""

import dataclasses
import re

from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.ports import REFUSALS, SEND_FAILURES
from ich_tf.gateway.states import REASONS, STATES
from tests.support.commands import ROOT

TEXT = (ROOT / "docs/gateway.md").read_text("utf-8")


def rows(pattern: str) -> list[str]:
    return re.findall(rf"^\| `{pattern}` \| \w", TEXT, re.MULTILINE)


def test_sections_states_and_reasons_are_explained_in_their_order() -> None:
    assert rows(r"\[(\w+)\]") == [field.name for field in dataclasses.fields(GatewayConfig)]
    assert sorted(rows("([a-z]+)")) == sorted({*STATES, "secret"})
    assert rows("([A-Z_]+)") == list(REASONS)
    for code in (*REFUSALS, *SEND_FAILURES):
        assert f"`{code}`" in TEXT, code
