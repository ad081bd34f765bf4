"""What ``mutations.py`` breaks of the end of a request under WSGI: in words, the cases that have to notice, and how."""

from __future__ import annotations

__all__ = ["WSGI_MUTATIONS"]

WSGI, SCOPE = "web/wsgi.py", "session/scope.py"

WSGI_MUTATIONS = (
    (
        "WSGI: the request is ended when its handler has returned",
        "late_use late_error late_failing_commit late_status unsendable failing_first_part",
        (WSGI, "                    scope.seal(code)\n", "                    drive(self.scopes.end(code))\n"),
    ),
    (
        "WSGI: the request is ended before the first part of a body is made",
        "unsendable failing_first_part",
        (WSGI, "        parts.begin()  #", "        self.conclude()  #"),
    ),
    (
        "a clean-up takes the work of a success away, and nobody minds",
        "late_cleanup",
        (SCOPE, "        saves = self.live and", "        saves = False and"),
    ),
    (
        "WSGI: a body's own scope does not wait for the request",
        "held_back_start",
        (SCOPE, "            self._previous.waits()\n", "            pass\n"),
    ),
    (
        "WSGI: an error of a handler's is nothing special",
        "error_pages error_answered_as_success",
        (WSGI, "        self.error = self.error or error\n        for scope", "        return\n        for scope"),
        (WSGI, "self.error or (exc_info[1] if exc_info else None)", "self.error"),
    ),
    (
        "WSGI: whatever is answered is a success",
        "late_status",
        (
            WSGI,
            "            self.finish(self.code, self.error)\n        except",
            "            self.finish(200, None)\n        except",
        ),
    ),
    (
        "WSGI: a failed end is left to the server",
        "error_page_of_a_failed_commit",
        (WSGI, "        app, self.answer_failure = self.answer_failure, None\n", "        app = None\n"),
    ),
)
