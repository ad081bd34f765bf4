"""Why there is no plan for a read, and what would make one of it."""

from __future__ import annotations

__all__ = ["RIGHT", "NoPlan"]

#: Where nothing has to be done.
RIGHT = "nothing: it goes SQLAlchemy's way, which is right"


class NoPlan(Exception):
    """There is something to a read that a plan does not know: it goes SQLAlchemy's way, always.

    Args:
        reason: what.
        advice: what would make a plan of it, in one line.
    """

    kind = ""  #: of read, in a word; it is set where this is kept, as the next one
    text = ""  #: of the statement, without its parameters

    def __init__(self, reason: str, advice: str = RIGHT) -> None:
        super().__init__(reason)
        self.advice = advice

    def kept(self, kind: str, text: str) -> NoPlan:
        """The same, with nothing that it has come from: neither frames, nor what was being handled meanwhile.

        Args:
            kind: of read.
            text: of the statement.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        self.kind, self.text = kind, text
        return self
