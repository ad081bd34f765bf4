"""A dialect whose connections are shared: what it does to a connection beside executing is done to its user's transaction."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["shared_dialect"]


#: What SQLAlchemy looks for in a dialect's own class.
_OWN = ("supports_statement_cache",)


class SharedDialect:
    """Mixed into an engine's dialect. The connections that it is handed are :class:`SharedConnection`'s."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        dbapi_connection.rollback()

    def do_close(self, dbapi_connection: Any) -> None:
        """Nothing: the connection is somebody else's."""

    do_terminate = do_close

    def do_ping(self, dbapi_connection: Any) -> bool:
        outer = dbapi_connection.outer
        return bool(outer.home.run(super().do_ping, outer.connection))  # type: ignore[misc]

    # -- isolation levels: the outer transaction has one, and it has begun ---------------------------------------------

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        dbapi_connection.outer.autocommit = level == "AUTOCOMMIT"

    def reset_isolation_level(self, dbapi_connection: Any) -> None:
        dbapi_connection.outer.autocommit = dbapi_connection.outer.always_autocommits

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        outer = dbapi_connection.outer
        if outer.autocommit:
            return "AUTOCOMMIT"
        return outer.home.run(super().get_isolation_level, outer.connection)  # type: ignore[misc]

    def set_readonly(self, connection: Any, value: bool) -> None:
        if value:
            connection.outer.read_only()

    def get_readonly(self, connection: Any) -> bool:
        return False

    def set_deferrable(self, connection: Any, value: bool) -> None:
        """Nothing: that, too, is decided at the beginning."""

    def get_deferrable(self, connection: Any) -> bool:
        return False

    # -- two phases: what is prepared is not committed by anybody else -------------------------------------------------

    def do_begin_twophase(self, connection: Any, xid: Any) -> None:
        """Nothing: its first statement begins it."""

    def do_prepare_twophase(self, connection: Any, xid: Any) -> None:
        """Nothing: it stays open."""

    def do_rollback_twophase(self, connection: Any, xid: Any, is_prepared: bool = True, recover: bool = False) -> None:
        self.do_rollback(connection.connection)

    def do_commit_twophase(self, connection: Any, xid: Any, is_prepared: bool = True, recover: bool = False) -> None:
        connection.connection.commit()


def shared_dialect(original: Any) -> Any:
    """A dialect like another one, for connections that are shared.

    Args:
        original: that of an engine which has connected before.
    """
    dialect: Any = object.__new__(_kind(type(original)))  # type: ignore[arg-type]
    vars(dialect).update(vars(original))
    vars(dialect).pop("_respool_catalogue", None)  # it asks the engine of the other one
    return dialect


@cache
def _kind(kind: type[Any]) -> type[Any]:
    if issubclass(kind, SharedDialect):
        return kind
    names = {name: value for name in _OWN if (value := vars(kind).get(name)) is not None}
    return type(kind.__name__, (SharedDialect, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__, **names})
