"""What is run of other people's suites: which tests, on which databases, with which classes of ours in the stock ones' place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "SQLALCHEMY", "STOCK", "SUITES", "Job", "Package", "Run", "Suite"]

FOLDER = Path(__file__).resolve().parent

#: The mode that leaves the stock classes in place, to compare with.
STOCK = "stock"


@dataclass(frozen=True)
class Package:
    """Whose suite it is.

    Args:
        name: as the package index spells it, in small letters.
        version: whose suite is run; none: that which is installed, and that is tested too.
        parts: what running the suite takes of its source distribution.
        path: folders of it that Python looks into for modules; where the package itself is tested from there too.
        has_needs: its suite imports what stands in ``needs.txt``.
    """

    name: str
    version: str = ""
    parts: Sequence[str] = ()
    path: Sequence[str] = ()
    has_needs: bool = False


#: Its lib/ is only there for its plugin of pytest: what is tested is the wheel that is installed.
SQLALCHEMY = Package("sqlalchemy", parts=("test", "lib", "setup.cfg", "pyproject.toml"))
SQLMODEL = Package(
    "sqlmodel",
    "0.0.50",
    parts=("tests", "docs_src", "scripts", "sqlmodel", "pyproject.toml"),
    path=(".",),
    has_needs=True,
)
FLASK_SQLALCHEMY = Package("flask-sqlalchemy", "3.1.1", parts=("tests", "src", "pyproject.toml"), path=("src",))


@dataclass(frozen=True)
class Job:
    """What is run on one database.

    Args:
        name: of the database and its driver.
        files: what is run, as patterns of files and folders.
        left_out: files and tests that are not about this.
        broken: what fails with the stock classes too, by the beginning of the tests' names.
        modes: in which it is run; none: all.
        versions: of SQLAlchemy, with which it is run, by their beginning; none: all.
    """

    name: str
    files: Sequence[str]
    left_out: Sequence[str] = ()
    broken: Sequence[str] = ()
    modes: Sequence[str] = ()
    versions: Sequence[str] = ()

    def part(self, file: str) -> str:
        """What a report calls the part that a file belongs to: the folder, where whole folders are run."""
        return next((folder for folder in self.files if file.startswith(f"{folder}/")), file)

    @property
    def needs_postgres(self) -> bool:
        return self.name.startswith("postgresql")

    def url(self, server: str) -> str:
        """The database's URL; ``server``: that of the PostgreSQL database, when it is one."""
        return server if self.needs_postgres else f"{self.name}:///suite.db"

    def is_for(self, mode: str, version: str) -> bool:
        """Whether it is run in this mode with this version of SQLAlchemy."""
        return (not self.modes or mode in (*self.modes, STOCK)) and (
            not self.versions or version.startswith(tuple(self.versions))
        )


@dataclass(frozen=True)
class Suite:
    """A part of a suite, and the classes that it is run with.

    Args:
        name: of what is tested.
        plugin: of pytest, in the folder ``plugins``, that puts our classes in place before the suite is imported.
        modes: what the plugin makes the classes do. In the first they are to do all that the stock ones do.
        jobs: what is run; of those for one database the first that is for a mode and version.
        package: whose suite it is.
        leasing: modes in which plain reads are executed on leases.
        more_plugins: what it takes beside, with the stock classes too.
    """

    name: str
    plugin: str
    modes: Sequence[str]
    jobs: Sequence[Job]
    package: Package = SQLALCHEMY
    leasing: Sequence[str] = ()
    more_plugins: Sequence[str] = ()

    def plugins(self, mode: str) -> list[str]:
        """The plugins of a mode, in the order in which they are imported."""
        return ["foreign_results", *([] if mode == STOCK else [self.plugin]), *self.more_plugins]

    def jobs_in(self, mode: str, version: str) -> Sequence[Job]:
        """What is run in a mode, with a version of SQLAlchemy."""
        jobs: dict[str, Job] = {}
        for job in self.jobs:
            if job.is_for(mode, version):
                jobs.setdefault(job.name, job)
        return list(jobs.values())

    @property
    def databases(self) -> set[str]:
        return {job.name for job in self.jobs}

    @property
    def allowed(self) -> Path:
        """The list of tests that may fail."""
        return FOLDER / "allowed" / f"{self.name}.toml"


@dataclass(frozen=True)
class Run:
    """One run of pytest."""

    suite: Suite
    mode: str
    job: Job

    def __str__(self) -> str:
        return f"{self.suite.name}, {self.mode}, {self.job.name}"

    @property
    def file_name(self) -> str:
        return f"{self.suite.name}-{self.mode}-{self.job.name}"


_ENGINE = [f"test/engine/test_{name}.py" for name in ("reconnect", "logging", "execute", "parseconnect", "transaction")]
_ASYNCIO = ["test/ext/asyncio", "test/base/test_concurrency*.py"]  # the latter's name changed with 2.1
_WHOLE = ["test/orm", "test/ext", "test/sql/test_resultset.py"]
#: Of it, where all would take too long: what a session does most about.
_SESSIONS = [
    f"test/orm/test_{name}.py" for name in ("session", "transaction", "unitofwork", "unitofworkv2", "lazy_relations")
]
_MYPY = "test/ext/mypy"  # runs mypy
#: Compares the names that Session has with those of scoped_session: each method that a subclass adds is one too many.
_NAMES = (
    "test/orm/test_scoping.py::ScopedSessionTest::test_attributes",
    "test/ext/asyncio/test_scoping.py::AsyncScopedSessionTest::test_attributes",
)
#: Looks at what pytest's handler of logs, which is left out here, would have put on a record.
_UNFORMATTED = (
    "test/orm/test_recursive_loaders.py::DeepRecursiveTest::test_warning_w_no_recursive_opt[not_disable_cache"
)
_LOCKED = ["test/orm/test_cascade.py::PartialFlushTest::test_o2m_m2o"]  # its first session keeps the file locked
_TOOLS = [  # run coverage and black
    "tests/test_select_gen.py",
    "tests/test_tutorial/test_create_db_and_table/test_tutorial001.py",
    "tests/test_tutorial/test_fastapi/test_app_testing/test_tutorial001_tests_main.py",
]
_IN_MEMORY = ["tests/test_engine.py::test_sqlite_memory_defaults"]
_NEAR = ("as_queue_pool", "fair")  # not far: these drivers cannot send BEGIN along

POOL = Suite(
    "pool",
    plugin="swap_pool",
    modes=("as_queue_pool", "fair", "far"),
    jobs=[
        Job(
            "sqlite",
            ["test/engine/test_pool.py", *_ENGINE],
            # its own end finds the file locked, by the connection that it has invalidated
            broken=["test/engine/test_reconnect.py::InvalidateDuringResultTest"],
            modes=_NEAR,
        ),
        Job("sqlite+aiosqlite", _ASYNCIO, modes=_NEAR),
        Job("postgresql+psycopg", _ENGINE),
        Job("postgresql+asyncpg", [*_ENGINE, *_ASYNCIO], modes=_NEAR),
        Job("postgresql+psycopg_async", [*_ENGINE, *_ASYNCIO]),
    ],
)

_LEASING = ("on_write", "together")

SESSION = Suite(
    "session",
    plugin="swap_session",
    modes=("on_use", *_LEASING),
    leasing=_LEASING,
    jobs=[
        Job("sqlite", _WHOLE, left_out=_NAMES, broken=_LOCKED, versions=["2.1."]),
        Job("sqlite", _WHOLE, left_out=[*_NAMES, _MYPY], broken=[*_LOCKED, _UNFORMATTED], modes=["together"]),
        Job("sqlite", _SESSIONS),
        Job("postgresql+psycopg", _WHOLE, left_out=_NAMES, modes=["together"], versions=["2.1."]),
        Job("postgresql+psycopg", _SESSIONS),
        Job("sqlite+aiosqlite", ["test/ext/asyncio/test_session.py"]),
        Job("postgresql+asyncpg", ["test/ext/asyncio"], left_out=_NAMES, versions=["2.1."]),
        Job("postgresql+asyncpg", ["test/ext/asyncio/test_session.py"]),
        Job("postgresql+psycopg_async", ["test/ext/asyncio/test_session.py"]),
    ],
)

# Their session classes are made of what sqlalchemy.orm has under the name Session: of ours.
SQLMODELS = Suite(
    "sqlmodel",
    plugin="swap_session",
    modes=SESSION.modes,
    leasing=_LEASING,
    jobs=[
        Job(name, ["tests"], left_out=_TOOLS, **for_)
        for name in ("sqlite", "postgresql+psycopg")
        for for_ in ({"versions": ["2.1."]}, {"modes": ["together"]})
    ],
    package=SQLMODEL,
    more_plugins=["sqlmodel_database"],
)
FLASKS = Suite(
    "flask_sqlalchemy",
    plugin="swap_session",
    modes=SESSION.modes,
    leasing=_LEASING,
    jobs=[
        Job(
            "sqlite",
            ["tests"],
            left_out=_IN_MEMORY,
            broken=[f"tests/test_model.py::test_declarativebase{kind}mapped_2x" for kind in ("", "nometa")],
            versions=["2.1."],
        ),
        Job(
            "sqlite",
            ["tests"],
            left_out=_IN_MEMORY,
            broken=[f"tests/test_model_bind.py::test_explicit_table[db{n}]" for n in (2, 4)],
        ),
    ],
    package=FLASK_SQLALCHEMY,
    more_plugins=["flask_database"],
)

# the longest first
SUITES = (SESSION, POOL, SQLMODELS, FLASKS)
