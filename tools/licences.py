"""Lists the licences of all installed packages of the lock files.

  python -m tools.licences --out_file=dist/licences.md

No package that the wheel requires may have a copyleft that reaches this project, or a licence of an
unknown name. Copyleft of a package's own files (MPL) is shown, since it asks nothing of a user who
leaves those files as they are. Packages whose licence files name the GPL or LGPL are marked: most
of them contain a library under it, such as OpenCV's FFmpeg (LGPL) and SciPy's libgfortran (GPL with
an exception for what is linked to it).

Exit codes: 0 done; 1 a licence may not be; 2 wrong usage.
"""

from __future__ import annotations

from ich_tf.runtime import command

_OUT = command.define_path("out_file", "dist/licences.md", "Markdown file to write the table to.")


def main() -> None:
    """Writes the table, and prints what stands out of it."""
    from collections import Counter
    from pathlib import Path

    from ich_tf.errors import InputError
    from ich_tf.runtime.files import write_text
    from tools.supply.licences import BY_FILE, PERMISSIVE, installed_licences, table

    licences, out = installed_licences(), Path(_OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table(licences))
    counts = Counter((each.is_wheels, each.kind) for each in licences)
    for (is_wheels, kind), count in sorted(counts.items(), reverse=True):
        command.show(f"{count:>4} {'of the wheel' if is_wheels else 'of extras'}: {kind}")
    for each in licences:
        if each.kind != PERMISSIVE or (each.is_wheels and each.names_gpl):
            inside = "; its licence files name the GPL" if each.names_gpl else ""
            command.show(f"{each.name} {each.version}: {each.text}{inside}")
    command.show(f"{out}: {len(licences)} packages")
    refused = [
        each for each in licences if each.is_wheels and each.kind not in (PERMISSIVE, BY_FILE)
    ]
    if refused:
        raise InputError(
            "The wheel requires packages whose licences may not be: "
            + ", ".join(f"{each.name} ({each.text})" for each in refused)
            + ". Expected a permissive licence, or the MPL. Replace them, or name the kind of the "
            "licence in tools/supply/licences.py."
        )


if __name__ == "__main__":
    command.run(main, __doc__)
