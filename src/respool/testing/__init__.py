"""What to test with: scripted connections, a clock that moves when told, a TCP proxy that fails on demand."""

from respool.testing.fakes import AsyncScriptedConnector, FakeClock, FakeConnection, ScriptedConnector
from respool.testing.gates import Answer, Gate, Script
from respool.testing.proxy import FaultProxy, Trap

__all__ = [
    "Answer",
    "AsyncScriptedConnector",
    "FakeClock",
    "FakeConnection",
    "FaultProxy",
    "Gate",
    "Script",
    "ScriptedConnector",
    "Trap",
]
