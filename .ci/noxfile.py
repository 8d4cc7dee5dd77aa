"""Each check in an environment of its own: ``nox -f .ci/noxfile.py --list``; ``.ci/run`` is all of them at once."""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).parents[1]


def at_root(session: nox.Session, *packages: str) -> None:
    """Install, and go on in the checkout."""
    session.chdir(ROOT)
    if packages:
        session.install(*packages)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after -- are pytest's."""
    at_root(session, ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """Run a sample of the tests with the oldest version of every dependency."""
    at_root(session)
    session.run("bash", ".ci/oldest", *session.posargs, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Ask ruff, and sp-repo-review, which checks what Scientific Python's guide asks of a repository."""
    at_root(session, ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("sp-repo-review", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types: mypy on the package and the tests, with the packages that have types."""
    at_root(session, ".[test,lint]")
    session.run("mypy", "--strict", "streamh5", "tests")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors, and look at its links."""
    at_root(session, ".[docs]")
    session.run("python", "-m", "sphinx", "-W", "--keep-going", "docs", "docs/_build/html", *session.posargs)
    session.run("python", ".ci/check_site.py", "docs/_build/html")


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run the notebooks from top to bottom."""
    at_root(session, ".[test]")
    session.run("pytest", "tests/house/test_notebooks.py", *session.posargs)


@nox.session
def packages(session: nox.Session) -> None:
    """Build, check, install and try wheel and source package."""
    at_root(session)
    session.run("bash", ".ci/packages", *session.posargs, external=True)


@nox.session
def metadata(session: nox.Session) -> None:
    """Check the files for other services against their schemas: citation, workflows, issue forms, ..."""
    at_root(session)
    session.run("bash", ".ci/metadata", external=True)
