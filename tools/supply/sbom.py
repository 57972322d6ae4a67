"""CycloneDX lists (SBOM) of the wheel and of lock files, with what is known against packages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.impact_analysis import ImpactAnalysisJustification, ImpactAnalysisState
from cyclonedx.model.vulnerability import (
    BomTarget,
    Vulnerability,
    VulnerabilityAnalysis,
    VulnerabilitySource,
)
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from ich_tf import __version__
from ich_tf.runtime.files import file_sha256, json_text
from tools.supply.advisories import Advisory
from tools.supply.licences import Licence
from tools.supply.locks import PROJECT, LockedPackage

_MARKER = "ich_tf:environment"


def sbom(
    packages: Iterable[LockedPackage],
    direct: Iterable[str],
    licences: Iterable[Licence],
    advisories: Iterable[Advisory],
    wheel: Path | None = None,
) -> str:
    """Makes a list that is a function of its arguments alone: without a time, without a number.

    Args:
      packages: Packages to list, in all their versions.
      direct: Names of those that the project itself requires.
      licences: Licences of installed packages; others are listed without.
      advisories: What is known against packages; those of other packages are left out.
      wheel: The built wheel, of which the list tells the SHA-256; None for a lock file's.

    Returns:
      JSON of CycloneDX 1.6.

    Raises:
      ValueError: If it does not follow the standard's schema.
    """
    make_licence = LicenseFactory().make_from_string
    texts = {each.name: each.text for each in licences}
    root = Component(
        type=ComponentType.LIBRARY,
        name=PROJECT,
        version=__version__,
        bom_ref=f"pkg:pypi/{PROJECT}@{__version__}",
        purl=PackageURL.from_string(f"pkg:pypi/{PROJECT}@{__version__}"),
        licenses=[make_licence("Apache-2.0")],
        hashes=_hashes([file_sha256(wheel)] if wheel else []),
    )
    bom = Bom()
    bom.metadata.component = root
    packages = list(packages)
    for each in packages:
        bom.components.add(
            Component(
                type=ComponentType.LIBRARY,
                name=each.name,
                version=each.version,
                bom_ref=each.purl,
                purl=PackageURL.from_string(each.purl),
                licenses=[make_licence(texts[each.name])] if each.name in texts else [],
                # Of several files, one a platform: which one is installed, is not known here.
                properties=[Property(name="ich_tf:sha256", value=digest) for digest in each.hashes]
                + ([Property(name=_MARKER, value=each.marker)] if each.marker else []),
            )
        )
    _add_graph(bom, packages, set(direct))
    for advisory in advisories:
        affected = [each for each in packages if advisory.covers(each)]
        if affected:
            bom.vulnerabilities.update(_vulnerabilities(advisory, affected))
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    # Of when and by what it was made.
    del content["serialNumber"], content["metadata"]["timestamp"]
    content["metadata"].pop("tools", None)
    text = json_text(content)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"no list of CycloneDX 1.6: {problem}")
    return text


def _add_graph(bom: Bom, packages: list[LockedPackage], direct: set[str]) -> None:
    """Tells who requires whom, by name: of two versions each is for one of the stacks."""
    components = {each.bom_ref.value: each for each in bom.components}
    assert bom.metadata.component
    bom.register_dependency(
        bom.metadata.component, [components[each.purl] for each in packages if each.name in direct]
    )
    for wanting in packages:
        wanted = [each for each in packages if wanting.name in each.wanted_by]
        bom.register_dependency(
            components[wanting.purl], [components[each.purl] for each in wanted]
        )


def _vulnerabilities(advisory: Advisory, affected: list[LockedPackage]) -> list[Vulnerability]:
    """The advisories of one cause, and whether they reach this project (VEX)."""
    justification = advisory.justification
    return [
        Vulnerability(
            id=number,
            bom_ref=f"{number} {advisory.package}",
            source=VulnerabilitySource(name="NVD"),
            description=advisory.what,
            analysis=VulnerabilityAnalysis(
                state=ImpactAnalysisState(advisory.state),
                justification=ImpactAnalysisJustification(justification) if justification else None,
                detail=advisory.why,
            ),
            affects=[BomTarget(ref=each.purl) for each in affected],
        )
        for number in advisory.ids
    ]


def _hashes(digests: Iterable[str]) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests]
