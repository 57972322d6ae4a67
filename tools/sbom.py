"""Lists what the wheel and the environments are made of, as CycloneDX 1.6 (SBOM).

  python -m tools.sbom --dist_dir=dist

Written are `dist/sbom/wheel.cdx.json`, of a built wheel and what it requires, and a list for each
lock file: all packages with versions, hashes, licences and who requires them, and the advisories
that are published against them, each with whether it reaches this project and why (VEX). The same
checkout gives the same bytes. `dist/SHA256SUMS` holds the hashes of wheel, sdist and lists.

Exit codes: 0 done; 1 there is no wheel, or a list cannot be written; 2 wrong usage.
"""

from __future__ import annotations

from ich_tf.runtime import command

_DIST = command.define_path(
    "dist_dir", "dist", "Folder with the built wheel, which make dist makes."
)


def main() -> None:
    """Writes the lists and their hashes."""
    import json
    from pathlib import Path

    from ich_tf.errors import InputError
    from ich_tf.runtime.files import file_sha256, write_text
    from tools.supply.advisories import read_advisories
    from tools.supply.licences import installed_licences
    from tools.supply.locks import LOCKS, PROJECT, ROOT, names, project, read_lock, wheel_packages
    from tools.supply.sbom import sbom

    dist = Path(_DIST.value)
    wheels = sorted(dist.glob("*.whl"))
    if len(wheels) != 1:
        raise InputError(f"{dist}: {len(wheels)} wheels; expected one. Run make dist.")
    licences, (advisories, _) = installed_licences(), read_advisories()
    required = names(project()["dependencies"])
    of_wheel = wheel_packages()
    packages = [each for each in read_lock(ROOT / "requirements.lock") if each.name in of_wheel]
    folder = dist / "sbom"
    folder.mkdir(exist_ok=True)
    lists = {"wheel": sbom(packages, required, licences, advisories, wheels[0])}
    for lock in LOCKS:
        packages = read_lock(ROOT / lock)
        # Those of the documentation are asked for by no package.
        direct = {each.name for each in packages if each.wanted_by <= {PROJECT}}
        direct |= {each.name for each in packages if PROJECT in each.wanted_by}
        lists[lock.removesuffix(".lock")] = sbom(packages, direct, licences, advisories)
    for name, text in lists.items():
        path = folder / f"{name}.cdx.json"
        write_text(path, text)
        content = json.loads(text)
        known = len(content.get("vulnerabilities", ()))
        command.show(f"{path}: {len(content['components'])} packages, {known} advisories")
    files = sorted(path for path in dist.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    sums = [f"{file_sha256(path)}  {path.relative_to(dist).as_posix()}\n" for path in files]
    write_text(dist / "SHA256SUMS", "".join(sums))


if __name__ == "__main__":
    command.run(main, __doc__)
