"""Runs in a page's environment, with nothing but Python: blocks of Python, as they are typed into ``python -m asyncio``.

Reads a block as a line of JSON, ``{"code", "name", "line"}``, runs it in the namespace of those before it, and answers with
``{"printed", "error"}``.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import sys
import traceback
import types


def main() -> None:
    sys.path[0] = ""  # the reader's folder, not that of this file
    answers, sys.stdout = sys.stdout, sys.stderr
    module = sys.modules["__page__"] = types.ModuleType("__page__")
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(run(runner, vars(module), **json.loads(line))), file=answers, flush=True)


def run(runner: asyncio.Runner, names: dict[str, object], code: str, name: str, line: int) -> dict[str, str]:
    printed = io.StringIO()
    error = ""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with contextlib.redirect_stdout(printed):
        try:
            result = eval(compile("\n" * (line - 1) + code, name, "exec", flags, dont_inherit=True), names)
            if inspect.iscoroutine(result):
                runner.run(result)
        except Exception:
            error = traceback.format_exc()
    return {"printed": printed.getvalue(), "error": error}


if __name__ == "__main__":
    main()
