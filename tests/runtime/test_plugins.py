"""Functions that flags name as module:function."""

import sys

import pytest

from ich_tf.errors import UsageError
from ich_tf.runtime.plugins import load_function


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, in which Python does not look for modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_function_of_the_current_folder_is_found(folder):
    (folder / "plugin_found.py").write_text("def double(x): return 2 * x\n")
    assert load_function("plugin_found:double", "backbone")(4) == 8


def test_a_function_of_a_package_is_found(folder):
    (folder / "plugin_package").mkdir()
    (folder / "plugin_package" / "__init__.py").touch()
    (folder / "plugin_package" / "inner.py").write_text("class Thing: pass\n")
    assert load_function("plugin_package.inner:Thing", "tracker").__name__ == "Thing"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "plugin_bad", "expected module:function"),
        ("", "plugin_bad:", "expected module:function"),
        ("", "plugin_bad.py:double", "there is no module plugin_bad.py"),
        ("", "../plugin_bad:double", "expected module:function"),
        ("", "plugin_none:double", "there is no module plugin_none"),
        ("", "plugin_bad:double", "the module plugin_bad has no double"),
        ("double = 2", "plugin_bad:double", "double is of type int; expected a function"),
        ("import plugin_other", "plugin_bad:double", "imports plugin_other, which is not inst"),
        ("1 / 0", "plugin_bad:double", "ZeroDivisionError: division by zero"),
        ("def double(:", "plugin_bad:double", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", "plugin_bad:double", "cannot be imported: SystemExit: 3"),
        ("raise KeyError('a.\\n b.')", "plugin_bad:double", r"KeyError: 'a.\\n b.'\.$"),
        ("raise ValueError('a.\\n b.')", "plugin_bad:double", r"ValueError: a. b\.$"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_in_one_paragraph(folder, content, name, message):
    (folder / "plugin_bad.py").write_text(content + "\n")
    with pytest.raises(UsageError, match=message) as caught:
        load_function(name, "tracker")
    assert str(caught.value).startswith(f"--tracker={name}: ")
