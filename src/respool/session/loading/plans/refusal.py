"""Why there is no plan for a read."""

from __future__ import annotations

__all__ = ["NoPlan"]


class NoPlan(Exception):
    """There is something to a read that a plan does not know: it goes SQLAlchemy's way, always."""
