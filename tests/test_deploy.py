"""The files of deploy/ agree with each other and with what the commands take."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ich_tf.gateway.config_file import load_config
from tests.support.commands import ROOT

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(
        (DEPLOY / "compose.yaml").read_text("utf-8")
    )["services"]
    return services


def test_the_image_takes_only_files_that_exist_and_that_docker_is_sent() -> None:
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for name in shlex.split(line)[1:-1]
    ]
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert {f"!{name}" for name in copied} <= set(sent)


def test_the_image_is_not_root() -> None:
    user = re.findall(r"^USER (\d+):\d+$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert user
    assert user[-1] != "0"


def test_the_gateway_of_compose_finds_its_archive_and_its_folders(
    services: dict[str, dict[str, Any]],
) -> None:
    config = load_config(DEPLOY / "gateway.toml")
    mounts = {
        volume.removesuffix(":ro").rpartition(":")[2] for volume in services["gateway"]["volumes"]
    }
    assert config.destination.host in services
    assert {config.model.work_dir, config.keep.state_dir} <= mounts
    assert "/etc/ich_tf/gateway.toml" in mounts
    archive = yaml.safe_load((DEPLOY / "orthanc.json").read_text("utf-8"))
    assert config.receiver.calling_ae_titles == (archive["DicomAet"],)
    gateway = archive["DicomModalities"]["ich_tf"]
    assert gateway == {
        "AET": config.receiver.ae_title,
        "Host": "gateway",
        "Port": config.receiver.port,
    }
    assert archive["DicomPort"] == config.destination.port


@pytest.mark.parametrize("name", ["gateway", "page"])
def test_containers_of_compose_may_write_their_state_alone(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert [volume for volume in service["volumes"] if not volume.endswith(":ro")] == [
        f"{name}:/state"
    ]


def test_only_loopback_is_published(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_proxy_passes_on_to_services_of_compose(services: dict[str, dict[str, Any]]) -> None:
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    hosts = re.findall(r"proxy_pass http://(\w+):", text)
    assert set(hosts) == {"gateway", "page"} <= set(services)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_of_systemd_is_valid(tmp_path: Path) -> None:
    # systemd asks whether the program exists, too.
    unit = (DEPLOY / "ich-tf-gateway.service").read_text("utf-8")
    path = tmp_path / "ich-tf-gateway.service"
    path.write_text(unit.replace("/opt/ich_tf/bin/ich-tf", "/bin/true"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
