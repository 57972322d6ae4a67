"""Profiles of hypothesis: few examples, always the same; or many, by chance.

`PROPERTY_EXAMPLES=5000 python -m pytest tests/properties` looks at that many examples of each.
"""

import os
import tempfile
from pathlib import Path

import pytest

# Before hypothesis is imported: it would leave a folder in the checkout.
_STORAGE = tempfile.TemporaryDirectory(prefix="hypothesis-")
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", _STORAGE.name)

from hypothesis import HealthCheck, Phase, settings  # noqa: E402

_EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "quick",
    max_examples=15,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_SLOW,
)
# Failures of many examples are not made smaller, which can take minutes: a quick run does it.
settings.register_profile(
    "long",
    max_examples=max(1, _EXAMPLES),
    phases=(Phase.explicit, Phase.generate, Phase.target),
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=_SLOW,
)
settings.load_profile("long" if _EXAMPLES else "quick")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of all examples, which write over each other's."""
    return tmp_path_factory.mktemp("examples")
