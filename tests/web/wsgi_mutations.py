"""What ``mutations.py`` breaks of the end of a request under WSGI: in words, the cases that have to notice, and how."""

from __future__ import annotations

__all__ = ["WSGI_MUTATIONS"]

WSGI, SCOPE, FALCON, DJANGO = "web/rules/exchange.py", "scope/scope.py", "web/falcon.py", "web/django.py"

#: The end of a request, where it is too early.
END = "end_request({0}, [scope.owner for scope in {0}.values()], {1})"
ASYNC_VIEW = f"""        response = await view(request, *args, **keywords)
        await {END.format("request.scope[KEY]", "response.status_code")}"""
SYNC_VIEW = f"""        import asyncio
        if not asyncio._get_running_loop():
            async_to_sync(end_request){END.format("request.scope[KEY]", "status").removeprefix("end_request")}"""

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
        "Falcon and Django under ASGI: the request is ended when its handler has returned",
        "late_use late_error late_failing_commit late_status unsendable",
        (
            FALCON,
            "            seal(found, resp.status_code)\n",
            f"            await {END.format('found', 'resp.status_code')}\n",
        ),
        (FALCON, "    roll_back,\n", "    end_request,\n    roll_back,\n"),
        (DJANGO, "        response = await view(request, *args, **keywords)\n", f"{ASYNC_VIEW}\n"),
        (DJANGO, "        seal(request.scope.get(KEY, {}), status)\n", f"{SYNC_VIEW}\n"),
    ),
    (
        "WSGI: a body's own scope does not wait for the request",
        "held_back_start",
        (SCOPE, "            self._previous.waits()\n", "            pass\n"),
    ),
    (
        "WSGI: an error of a handler's is nothing special",
        "error_pages error_answered_as_success",
        (
            WSGI,
            "        self.error = self.error or error\n        self.resume()",
            "        return\n        self.resume()",
        ),
        (WSGI, "self.error or (exc_info[1] if exc_info else None)", "self.error"),
    ),
    (
        "WSGI: whatever is answered is a success",
        "late_status",
        (WSGI, "self.scopes.end(self.code, self.error, Stays.ON_FAILURE)", "self.scopes.end(200)"),
    ),
    (
        "WSGI: a failed end is left to the server",
        "error_page_of_a_failed_commit",
        (WSGI, "        app, self.answer_failure = self.answer_failure, None\n", "        app = None\n"),
    ),
)
