"""Lists of packages, licences and advisories."""

import json
from pathlib import Path

import pytest
from packaging.version import Version

from tests.support.commands import ROOT
from tools.supply import advisories, licences
from tools.supply.locks import LOCKS, names, project, read_lock, wheel_packages


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_locked_and_wanted(lock: str) -> None:
    packages = read_lock(ROOT / lock)
    known = {package.name for package in packages} | {"ich-tf"}
    for package in packages:
        assert Version(package.version) and package.hashes
        assert package.wanted_by <= known, package.name
        assert package.wanted_by or "docs" in lock, package.name


def test_all_lock_files_are_listed() -> None:
    assert {path.name for path in ROOT.glob("requirements*.lock")} == set(LOCKS)


def test_the_wheels_packages_are_not_those_of_its_extras() -> None:
    found = wheel_packages()
    assert names(project()["dependencies"]) <= found
    assert {"keras", "pillow", "protobuf"} <= found
    assert not found & {"hatchling", "fastapi", "pynetdicom", "nibabel", "pytest", "hypothesis"}


def test_licences_of_the_wheel() -> None:
    pytest.importorskip("piplicenses", reason="needs the extra audit")
    found = [each for each in licences.installed_licences() if each.is_wheels]
    kinds = {each.name: each.kind for each in found}
    assert set(kinds) >= names(project()["dependencies"]) - {"tf-keras", "tensorflow-addons"}
    assert set(kinds.values()) <= {licences.PERMISSIVE, licences.BY_FILE}
    table = licences.table(found).splitlines()
    assert len({line.count(" | ") for line in table[2:]}) == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("GPL-3.0-or-later", licences.COPYLEFT),
        ("GNU Affero General Public License v3", licences.COPYLEFT),
        ("LGPL-2.1-only", licences.BY_LIBRARY),
        ("GNU Lesser General Public License v2 (LGPLv2)", licences.BY_LIBRARY),
        ("MIT AND GPL-2.0-only", licences.COPYLEFT),
        ("MIT OR GPL-2.0-only", licences.PERMISSIVE),
        ("Mozilla Public License 2.0 (MPL 2.0)", licences.BY_FILE),
        ("UNKNOWN", licences.UNKNOWN),
        ("Proprietary", licences.UNKNOWN),
    ],
)
def test_kinds_of_licences(text: str, kind: str) -> None:
    assert licences.kind_of(text) == kind


def test_advisories_are_of_locked_packages() -> None:
    """One that no locked version has any more is to be deleted."""
    found, _ = advisories.read_advisories()
    locked = [package for lock in LOCKS for package in read_lock(ROOT / lock)]
    for advisory in found:
        assert any(advisory.covers(package) for package in locked), advisory.ids
        assert advisory.justification or advisory.state != "not_affected", advisory.ids


def test_the_page_of_advisories_is_the_list() -> None:
    found, read_on = advisories.read_advisories()
    page = (ROOT / "docs/advisories.md").read_text("utf-8")
    assert advisories.table(found) in page
    assert read_on.isoformat() in page


def test_sbom_follows_the_standard(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx", reason="needs the extra audit")
    from tools.supply.sbom import sbom

    packages = read_lock(ROOT / "requirements.lock")
    found, _ = advisories.read_advisories()
    wheel = tmp_path / "ich_tf.whl"
    wheel.write_bytes(b"wheel")
    direct = names(project()["dependencies"])
    made = [sbom(packages, direct, (), found, wheel) for _ in range(2)]
    assert made[0] == made[1]
    content = json.loads(made[0])
    assert {each["purl"] for each in content["components"]} == {each.purl for each in packages}
    needs = {each["ref"]: each.get("dependsOn", []) for each in content["dependencies"]}
    (root,) = (ref for ref in needs if ref.startswith("pkg:pypi/ich-tf@"))
    assert {ref.split("/")[1].split("@")[0] for ref in needs[root]} == direct
    assert any("keras" in ref for ref in needs["pkg:pypi/tensorflow@2.15.1"])
    told = {each["id"]: each for each in content["vulnerabilities"]}
    assert told["CVE-2025-53644"]["affects"] == [
        {"ref": "pkg:pypi/opencv-python-headless@4.11.0.86"}
    ]
