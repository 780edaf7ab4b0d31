"""What can be run on this repository: `nox -l` lists it, plain `nox` runs what is starred there."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_venv = "yes"

PYPROJECT = nox.project.load_toml("pyproject.toml")
LAYERS = [1, 2, 3]
WORKERS = "2"
WAITING = "4"
"""How many workers where most of the time is spent on waiting, for loads to end and for processes to die."""


def install_group(session: nox.Session, group: str, *package: str) -> None:
    """Install a dependency group, and the package where its arguments for pip are given."""
    session.install(*package, *nox.project.dependency_groups(PYPROJECT, group))


def run_pytest(session: nox.Session, *args: str, extras: str = "peers,work") -> None:
    """Run pytest on the package as it stands in the work tree; a suite without any test fails (pytest's status 5)."""
    install_group(session, "test", "-e", f".[{extras}]")
    session.run("pytest", "-q", *args, *session.posargs)


@nox.session(tags=["ci"])
def lint(session: nox.Session) -> None:
    """Check style, format, who imports whom, and the changelog fragments."""
    install_group(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "src"})
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session(tags=["ci"])
def typing(session: nox.Session) -> None:
    """Check the types of src, tests and this file, strictly."""
    install_group(session, "typing", "-e", ".[peers,work]")
    session.run("mypy")


@nox.session(tags=["ci"])
def functional(session: nox.Session) -> None:
    """Run the unit tests, and those marked functional of the integration tests and of the planted defects."""
    run_pytest(session, "tests/unit", "tests/integration", "tests/planted", "-m", "functional", "-n", WORKERS)


@nox.session(tags=["ci"])
@nox.parametrize("layer", LAYERS)
def integration(session: nox.Session, layer: int) -> None:
    """Run the integration suite on one layer: 1 simulated, 2 real processes, 3 real programs."""
    # Layer 1 is done before a second process has begun.
    at_once = {1: (), 2: ("-n", WAITING), 3: ("-n", WORKERS)}[layer]
    # Only the third runs what users run, DSPy's programs among it, and that is a hundred packages to install.
    extras = "dspy,peers,work" if layer == 3 else "peers,work"
    run_pytest(session, "tests/integration", f"--layer={layer}", *at_once, extras=extras)


def install_locust(session: nox.Session) -> str:
    """Make an environment for Locust, in that of the session: it replaces parts of Python in every process it is in."""
    folder = Path(session.virtualenv.location, "locust").resolve()
    python = str(folder / "bin" / "python")
    session.run_install("python", "-m", "venv", str(folder))
    session.run_install(python, "-m", "pip", "install", "--quiet", "locust>=2.40", external=True)
    return python


@nox.session
@nox.parametrize("layer", LAYERS)
def performance(session: nox.Session, layer: int) -> None:
    """Measure one layer, the kit's own cost included, and judge the figures by the budgets in config/."""
    if layer == 2:
        session.env["POOLPROOF_LOCUST"] = install_locust(session)
    run_pytest(session, "tests/performance", f"--layer={layer}")


@nox.session(default=False)
def error_rates(session: nox.Session) -> None:
    """Measure how often `regress` errs on this machine, for about 50 minutes; `-- 4 2 2` tries it in a few."""
    install_group(session, "test", "-e", ".")
    session.run("python", "-m", "tests.performance.error_rates", *session.posargs)


@nox.session(default=False)
def regression(session: nox.Session) -> None:
    """Compare this commit with the one that it left the main branch at; `-- --base REV` names another."""
    session.install("-e", ".")
    # 3 says that it could not be told, which is for whoever reads it to judge.
    session.run("poolproof", "regress", *session.posargs, success_codes=[0, 3])


@nox.session(default=False)
@nox.parametrize("layer", LAYERS)
def chaos(session: nox.Session, layer: int) -> None:
    """Break one layer at random moments, for minutes."""
    run_pytest(session, "tests/chaos", f"--layer={layer}")


@nox.session(tags=["ci"])
def explore(session: nox.Session) -> None:
    """Search random schedules of sessionpool on layer 1; `-- --seeds 20000 --first-seed 2000` searches others."""
    session.install("-e", ".")
    session.run("poolproof", "explore", "--report", session.create_tmp(), *session.posargs, silent=not session.posargs)


@nox.session(default=False)
def planted(session: nox.Session) -> None:
    """Plant defects in copies of the pool's core, and let each be found, shrunk and replayed; names choose some."""
    install_group(session, "test", "-e", ".[peers,work]")
    session.run("python", "-m", "tests.planted.hunt", *session.posargs)


DIGESTS: dict[str, str] = {}
"""What the interpreters came to that were tried so far."""


@nox.session(default=False, python=["3.11", "3.12", "3.13"])
def determinism(session: nox.Session) -> None:
    """Simulate the same plans on several versions of Python and with other hashes: all bytes must be the same."""
    session.install("-e", ".")
    for hash_seed in ("0", "4711"):
        told = session.run(
            "python", "-m", "tests.digests", "200", silent=True, log=False, env={"PYTHONHASHSEED": hash_seed}
        )
        DIGESTS[f"Python {session.python}, hash seed {hash_seed}"] = str(told).strip()
    session.log("\n".join(f"{who}: {digest}" for who, digest in DIGESTS.items()))
    if len(set(DIGESTS.values())) > 1:
        session.error("the histories differ")


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Look for false alarms and residue: 100 mixed runs that must be clean; `-- --hours 8` goes on for so long."""
    install_group(session, "test", "-e", ".[peers,work]")
    session.run("python", "-m", "tests.chaos.soak", *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Fuzz the reader of frames for five minutes; `-- -max_total_time=3600` and the like go to libFuzzer."""
    session.install("atheris>=3", "-e", ".")
    session.run("python", "-m", "tests.fuzz.decoder", *session.posargs or ["-max_total_time=300"])


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Measure what the functional tests cover, subprocesses included."""
    install_group(session, "test", "-e", ".[peers,work]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-m", "functional", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(default=False)
def prove(session: nox.Session) -> None:
    """Prove and compare two pools of the standard library; the report goes to report/, the figures to out.json."""
    session.install(".")
    # Exit status 1 says that a promise is broken, and these pools do break some: what counts here is that it was found.
    session.run(
        "poolproof",
        *("compare", "process-pool-executor", "multiprocessing-pool"),
        *("--report", "report", "--json", "out.json"),
        *session.posargs,
        success_codes=[0, 1],
    )


@nox.session(default=False)
def findings(session: nox.Session) -> None:
    """Run the scripts behind docs/findings.md: each shows its finding again, without poolproof."""
    session.install("loky", "pebble")
    for script in sorted(Path("docs/findings").glob("*.py")):
        session.run("python", str(script))
