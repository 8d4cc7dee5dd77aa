"""Compare what a wheel and a source package hold with the checkout: ``package_contents.py WHEEL SOURCE_PACKAGE``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def files_of_checkout() -> set[str] | None:
    """Return what git knows, or None where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        return None
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


def main(wheel: str, source_package: str) -> None:
    """Exit with the names that are missing or too many."""
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = {name for name in opened.namelist() if ".dist-info/" not in name}
    with tarfile.open(source_package) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
    problems = [f"wheel has {name}" for name in in_wheel if not name.startswith("streamh5/")]
    if "streamh5/py.typed" not in in_wheel:
        problems.append("wheel lacks py.typed: type checkers would ignore the annotations")
    known = files_of_checkout() or in_source
    problems += [
        f"wheel lacks {name}" for name in known if name.startswith("streamh5/") and name not in in_wheel
    ]
    problems += [f"source package lacks {name}" for name in known - in_source]
    problems += [f"source package has {name}" for name in in_source - known]
    if problems:
        sys.exit("\n".join(sorted(problems)))
    print(f"{len(in_wheel)} files of the package in the wheel, {len(in_source)} files in the source package")


if __name__ == "__main__":
    main(*sys.argv[1:])
