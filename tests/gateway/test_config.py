"""A gateway's config: every error names the file, the section and the key."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from ich_tf.errors import ConfigError
from ich_tf.gateway.config import GatewayConfig, StowSection
from ich_tf.gateway.config_file import load_config
from ich_tf.runtime.tokens import read_token
from tests.support.commands import ROOT

STOW = "[stow]\nenabled = true\n"


def load(folder: Path, text: str) -> GatewayConfig:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no study can come in"),
        ("[receiver]\nprt = 1", r"\[receiver\] prt is unknown. Did you mean port\?"),
        ("[receivr]", "section receivr is unknown. Did you mean receiver?"),
        ("stow = 1", r"stow is 1; it must be a section, \[stow\]"),
        ("[stow", "is not TOML"),
        ('[receiver]\nport = "1"', r"\[receiver\] port is '1'; it must be of type int"),
        ("[receiver]\nenabled = true", "calling_ae_titles"),
        ('[receiver]\nenabled = true\ncalling_ae_titles = ["A "]', "1 to 16 ASCII characters"),
        (
            '[receiver]\nenabled = true\ncalling_ae_titles = ["A"]\nhost = "0.0.0.0"',
            "host is '0.0.0.0'.* tls = true",
        ),
        (
            '[receiver]\nenabled = true\ncalling_ae_titles = ["A"]\ntls = true',
            "tls.certificate_file is empty",
        ),
        (STOW + '[http]\nhost = "0.0.0.0"\nallow_plain = true', "token_file"),
        (STOW + '[http]\nroot_path = "ich/"', "root_path"),
        (STOW + '[destination]\nkind = "dimse"\nhost = "pacs"', "tls is False"),
        (STOW + '[destination]\nkind = "dicomweb"\nurl = "http://pacs/x"', "https"),
        (STOW + '[webhook]\nurl = "https://user:secret@x"', "token_file"),
        (STOW + '[webhook]\nurl = "https://user:secret@x:abc"', "is no address"),
        (STOW + '[webhook]\nurl = "https://[::1/x"', "is no address"),
        (STOW + '[webhook]\nurl = "https://a b/x"', "an address such as"),
        (STOW + '[webhook]\nurl = "https://x:0"', "an address such as"),
        (STOW + '[webhook]\nurl = "https://a..b/x"', "an address such as"),
        (STOW + '[webhook]\nurl = "https://h%20h/x"', "an address such as"),
        (STOW + '[http]\nhost = "a..b"', "a name or an address of a machine"),
        (STOW + '[destination]\nkind = "dimse"\nhost = "a b"', "a name or an address of a machine"),
        (STOW + '[http]\nroot_path = "//evil.example"', "root_path"),
        (STOW + "[limits]\nfree_mb = 0", "free_mb is 0; it must be 16 or more"),
        (STOW + '[keep]\nstate_dir = "~nobody-has-this-name/x"', "state_dir.* home folder"),
        (STOW + '[http]\ntoken_file = "a\\u0000b"', "token_file.* zero bytes"),
        ("[receiver]\nenabled = true\ncalling_ae_titles = [1]", "a list of values of type str"),
        (STOW + '[tls]\nkey_file = "x"', "together with certificate_file"),
        (
            '[poll]\nenabled = true\nurl = "https://pacs/x"\ndays = 9\n[keep]\nrows_days = 9',
            "poll.days",
        ),
    ],
)
def test_an_error_names_file_section_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/gateway.toml: ")
    assert "secret" not in str(error.value)


def test_paths_are_relative_to_the_file_and_everything_is_off_but_loopback(tmp_path: Path) -> None:
    config = load(tmp_path, STOW + '[keep]\nstate_dir = "state"\n[tls]\nca_file = "~/ca.pem"')
    assert config.state_path == tmp_path / "state"
    assert config.tls.ca_file == str(Path.home() / "ca.pem")
    assert not config.receiver.enabled and config.destination.kind == "none"
    assert config.http.host == config.receiver.host == "127.0.0.1"


def test_a_mark_of_an_editor_and_its_line_ends_are_none_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xef\xbb\xbf" + STOW.replace("\n", "\r\n").encode())
    assert load_config(path).stow.enabled


def test_an_option_that_is_a_path_is_named_like_one() -> None:
    config = GatewayConfig(stow=StowSection(enabled=True))
    for section in dataclasses.fields(GatewayConfig):
        for field in dataclasses.fields(getattr(config, section.name)):
            assert field.metadata["is_path"] == field.name.endswith(("_dir", "_file")), field.name


def test_a_token_is_read_from_a_file_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="other users of this machine"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == "0123456789abcdef" and read_token("") == ""
    path.write_text("short")
    with pytest.raises(ConfigError, match="token of 5 characters") as error:
        read_token(path)
    assert "short" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_the_example_shows_every_key_with_its_default() -> None:
    text = (ROOT / "configs/gateway.toml").read_text("utf-8")
    config = load_config(ROOT / "configs/gateway.toml")
    for section in dataclasses.fields(config):
        shown = text.split(f"\n[{section.name}]")[1].split("\n[")[0]
        values = dict(re.findall(r"^(?:# )?(\w+) = ([^#\n]*?) *(?:#.*)?$", shown, re.MULTILINE))
        fields = {field.name: field for field in dataclasses.fields(getattr(config, section.name))}
        assert list(values) == list(fields), section.name
        commented = set(re.findall(r"^# (\w+) = ", shown, re.MULTILINE))
        for name in commented - {"url", "root_path"}:
            if not fields[name].metadata["is_path"]:
                assert json.loads(values[name]) == fields[name].default, name
