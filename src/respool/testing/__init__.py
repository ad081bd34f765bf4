"""What to test with: databases that forget, assertions, faults on demand, clocks that are moved, and the pytest plugin."""

from respool.testing.assertions.commits import Commits, assert_committed, assert_nothing_committed, watch_commits
from respool.testing.assertions.leaks import assert_no_connection_held, assert_no_leaks
from respool.testing.assertions.statements import Statement, Statements, count_statements
from respool.testing.clock import PoolClock
from respool.testing.fakes import AsyncScriptedConnector, FakeClock, FakeConnection, ScriptedConnector
from respool.testing.faults.clients import Departure, hang_up, hang_up_wsgi
from respool.testing.faults.databases import Fault, database_away, failing_commit, full_pool
from respool.testing.gates import Answer, Gate, Script
from respool.testing.isolation.cases import RolledBack
from respool.testing.isolation.rollback import rolled_back
from respool.testing.isolation.template import DatabaseTemplate, fresh_database
from respool.testing.proxy import FaultProxy, Trap

__all__ = [
    "Answer",
    "AsyncScriptedConnector",
    "Commits",
    "DatabaseTemplate",
    "Departure",
    "FakeClock",
    "FakeConnection",
    "Fault",
    "FaultProxy",
    "Gate",
    "PoolClock",
    "RolledBack",
    "Script",
    "ScriptedConnector",
    "Statement",
    "Statements",
    "Trap",
    "assert_committed",
    "assert_no_connection_held",
    "assert_no_leaks",
    "assert_nothing_committed",
    "count_statements",
    "database_away",
    "failing_commit",
    "fresh_database",
    "full_pool",
    "hang_up",
    "hang_up_wsgi",
    "rolled_back",
    "watch_commits",
]
