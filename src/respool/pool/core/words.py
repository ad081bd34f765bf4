"""What an error of a driver's says, as it may be shown."""

from __future__ import annotations

import re

__all__ = ["words_of"]

#: What is secret in a driver's words: the user part of a URL, and whatever is called a password.
_CREDENTIALS = re.compile(r"(://[^\s/:@'\"]*):[^\s'\"]*@")
_PASSWORDS = re.compile(
    r"""(\w*(?:passw|pwd|secret|token|api_?key)\w*['"]?\s*[=:]\s*)(?!YES\b|NO\b)('[^']*'|"[^"]*"|[^\s,;&)]+)""", re.I
)
#: How much of them is shown.
_LONGEST = 300


def words_of(error: BaseException) -> str:
    """What an error of a driver's says, in one line and without a password: ``OperationalError: connection refused``."""
    text = " ".join(str(error).split())
    text = _PASSWORDS.sub(r"\1***", _CREDENTIALS.sub(r"\1:***@", text))
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
