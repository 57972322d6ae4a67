"""Soaks the page's server and the gateway: mixed load for an hour, and what it costs stays flat.

  python -m tools.soak --minutes=60

Both run as a user starts them, on a network with random weights, beside Orthanc as the archive
where it is installed. Good clients upload, look, download and delete; scanners send studies, which
have to arrive; hostile ones send damaged files, archives that grow, bodies without end, random
bytes and wrong tokens, hang up or fall silent; the archive is away four times, and the webhook
fails. Every answer has to be the documented one, and probabilities those of the first time. Memory,
handles, threads, processes and disk of both are sampled; the median of the last third of the run
may lie above that of the middle third by no more than a bound that the report states. The same
seed draws the same actions.

Exit codes: 0 flat, and every answer as it should be; 1 it is not, and the report says what, or a
service does not start; 2 wrong usage; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

from absl import flags

from ich_tf.runtime import command

command.add_headings({"minutes": "Load", "out_dir": "Folders"})
_MINUTES = flags.DEFINE_float("minutes", 60.0, "Time under load, minutes.", lower_bound=0.5)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all that is drawn.", lower_bound=0)
_OUT = command.define_path(
    "out_dir", "runs/soak", "Folder for report.txt, report.html, report.json and samples.csv."
)
_ORTHANC = flags.DEFINE_bool(
    "orthanc", True, "Send results to Orthanc where it is installed, not to pynetdicom."
)
_KEEP = flags.DEFINE_bool("keep_logs", False, "Keep the logs of both services in --out_dir.")


def main() -> None:
    """Soaks, writes the report, and prints it."""
    import logging
    import shutil
    import tempfile
    from pathlib import Path

    from ich_tf.errors import InputError

    try:
        from tools.soaking import report
        from tools.soaking.campaign import run
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; a soak needs what the tests need. Run make setup-dev."
        ) from error

    # httpx logs a line for each request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It quotes what is damaged on purpose.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    out_dir = Path(_OUT.value)
    with tempfile.TemporaryDirectory(prefix="ich_tf-soak-") as folder:
        try:
            result = run(
                Path(folder),
                60 * _MINUTES.value,
                _SEED.value,
                command.show,
                use_orthanc=_ORTHANC.value,
            )
        finally:
            if _KEEP.value:
                out_dir.mkdir(parents=True, exist_ok=True)
                for log in Path(folder).glob("*/log.txt"):
                    shutil.copyfile(log, out_dir / f"{log.parent.name}.log")
    report.write(out_dir, result, _SEED.value)
    command.show(report.text(result, _SEED.value))
    if result.problems:
        raise InputError(
            f"{len(result.problems)} problems, listed above and in {out_dir / 'report.txt'}."
        )


if __name__ == "__main__":
    command.run(main, __doc__)
