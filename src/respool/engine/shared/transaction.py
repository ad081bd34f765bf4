"""The outer transaction of one connection, and the savepoint in it that is its user's transaction.

COMMIT becomes RELEASE, ROLLBACK becomes ROLLBACK TO.  What a database does at a COMMIT beyond saving, and not at a RELEASE,
is done here where it can be: deferred constraints are checked, settings of the transaction end with it.
"""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from typing import Any

from respool.engine.dialects.arrivals import autocommits
from respool.engine.dialects.signs import driver_of
from respool.engine.shared.home import Home
from respool.errors import SharedConnectionLost

__all__ = ["OuterTransaction"]

_numbers = itertools.count(1)

#: What sets something for the length of a transaction, by PostgreSQL's two ways; a RELEASE would leave it set.
_LOCAL = re.compile(
    r"\s*SET\s+LOCAL\s+(?P<a>TIME\s+ZONE|[\w.]+)|\bset_config\s*\(\s*'(?P<b>[\w.]+)'(?!.*,\s*false\s*\))",
    re.IGNORECASE | re.DOTALL,
)


class OuterTransaction:
    """See the head of the file.

    Args:
        dialect: the engine's.
        dbapi_connection: as SQLAlchemy has it.
        home: where its calls are made.
    """

    def __init__(self, dialect: Any, dbapi_connection: Any, home: Home) -> None:
        self.dialect = dialect
        self.connection = dbapi_connection
        self.home = home
        number = next(_numbers)
        self._outer, self._inner = f"respool_outer_{number}", f"respool_{number}"
        self._family = dialect.name
        self._settings: dict[str, str] = {}
        self._level_before: Any = None
        self._begun_here = False
        self._checks_references = False  #: whether SQLite is to: nobody can change that inside of a transaction
        self.open = False  #: whether its user's transaction is
        self.failed = False  #: whether a statement in it has
        self.autocommit = False  #: whether each statement of its user's commits by itself
        self.always_autocommits = False  #: whether those of all users do
        self.lost: str | None = None  #: why it is no more

    # -- the outer one --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin it, unless its connection is in one already."""
        self.home.run(self._start)

    def _start(self) -> None:
        self.always_autocommits = self._family != "sqlite" and autocommits(self.dialect, self.connection)
        if self._family == "sqlite" and not self._in_transaction():
            # the driver must not begin, nor commit, by itself: it begins before writes only, and then too late
            self._level_before = self.connection.isolation_level
            self.connection.isolation_level = None
            self._begun_here = True
            self._do("BEGIN")
        elif self.always_autocommits:
            self._do("BEGIN")
        self._checks_references = self._family == "sqlite" and self._do("PRAGMA foreign_keys") == [(1,)]
        self._do(f"SAVEPOINT {self._outer}", f"SAVEPOINT {self._inner}")

    def end(self) -> None:
        """Roll back to its beginning, and be of no use any more. What was begun here is over after that.

        Raises:
            SharedConnectionLost: it had ended before, by itself.
        """
        if self.lost is None:
            try:
                self.home.run(self._end)
            except Exception as error:
                self.lose(error)
            else:
                self.lost = "its test is over"
                return
        raise self._refusal("at the end of the test its transaction was gone")

    def _end(self) -> None:
        self.open = False
        self._do(f"ROLLBACK TO SAVEPOINT {self._outer}", f"RELEASE SAVEPOINT {self._outer}")
        if self._begun_here or self.always_autocommits:
            self._do("ROLLBACK")
        if self._begun_here:
            self.connection.isolation_level = self._level_before

    def lose(self, error: BaseException) -> None:
        """It is gone: the connection was lost, or something was committed in a way that nobody could turn around."""
        self.open = False
        self.lost = self.lost or f"{type(error).__name__}: {error}".splitlines()[0]

    def require(self) -> None:
        """Refuse where it is gone.

        Raises:
            SharedConnectionLost: it is.
        """
        if self.lost is not None:
            raise self._refusal("the connection that a test shares is gone")

    def _refusal(self, what: str) -> SharedConnectionLost:
        return SharedConnectionLost(
            f"{what}: {self.lost}",
            advice=[
                "a session, or a connection, of a test that is over was used: let each test open its own",
                "something ended the transaction itself: DDL on MySQL, a COMMIT inside of a procedure, a connection that"
                + " was cut on purpose. Give that test a database of its own: fresh_database(db)",
            ],
            pool="shared",
        )

    # -- its user's -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin its user's transaction, unless it is open. The savepoint is there already: nothing can come in between."""
        if not self.open:
            self.require()
            self.open, self.failed = True, False

    def commit(self) -> None:
        """Commit it. What fails rolls it back, as on the server; SQLite leaves it open."""
        if self.open:
            try:
                self.home.settle(self._commit)
            except Exception:
                if self._family != "sqlite":
                    with suppress(Exception):
                        self.rollback()
                raise

    def _commit(self) -> None:
        self._check_deferred()
        self._do(f"RELEASE SAVEPOINT {self._inner}")
        for name, value in self._settings.items():
            self._do(f"SELECT set_config('{name}', {_quoted(value)}, true)")
        self._settings.clear()
        self._do(f"SAVEPOINT {self._inner}")
        self.open = False

    def rollback(self) -> None:
        """Roll it back."""
        if self.open:
            self._settings.clear()  # they go with it
            try:
                self.home.settle(self._rollback)
            except Exception as error:
                self.lose(error)
                raise

    def _rollback(self) -> None:
        self._do(f"ROLLBACK TO SAVEPOINT {self._inner}")
        self.open = False

    def has_read(self) -> None:
        """Its user was a plain read, which leaves nothing that would have to be committed."""
        if self.failed:
            self.rollback()
        self.open = False

    def read_only(self) -> None:
        """Have its user's transaction refuse to write, where the database can: it ends with that."""
        if self._family == "postgresql":
            self.begin()
            self.home.run(self._do, "SET TRANSACTION READ ONLY")

    def look(self, statement: str) -> None:
        """A statement is about to be executed: note what it sets, to set it back."""
        if self._family == "postgresql" and (found := _LOCAL.search(statement)) is not None:
            name = (found["a"] or found["b"]).lower()
            name = "timezone" if name.startswith("time") and "zone" in name else name
            if name not in self._settings:
                self._settings[name] = self.home.run(self._setting, name)

    def _setting(self, name: str) -> str:
        ((value,),) = self._do(f"SELECT current_setting('{name}', true)")
        return value or ""

    def _check_deferred(self) -> None:
        """What a COMMIT would refuse is refused here, and stays to be checked again by the next one."""
        if self._family == "postgresql":
            check = f"{self._inner}_check"
            self._do(
                f"SAVEPOINT {check}",
                "SET CONSTRAINTS ALL IMMEDIATE",
                f"ROLLBACK TO SAVEPOINT {check}",
                f"RELEASE SAVEPOINT {check}",
            )
        elif self._checks_references:
            defers = self._do("PRAGMA defer_foreign_keys") == [(1,)] or self._do(
                "SELECT 1 FROM sqlite_master WHERE sql LIKE '%INITIALLY DEFERRED%' LIMIT 1"
            )
            if defers and self._do("PRAGMA foreign_key_check"):
                raise self.dialect.loaded_dbapi.IntegrityError("FOREIGN KEY constraint failed")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _in_transaction(self) -> bool:
        return bool(getattr(driver_of(self.connection), "in_transaction", False))

    def _do(self, *statements: str) -> list[tuple[Any, ...]]:
        """Execute statements where the connection is at home; the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        cursor = self.connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
            if cursor.description:
                rows = [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()
        return rows


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
