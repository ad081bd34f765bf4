"""What differs between frameworks and between databases in files that they share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DATABASES", "FRAMEWORKS", "Framework", "values"]


@dataclass(frozen=True)
class Framework:
    """One framework's part of the templates.

    Attributes:
        title: its name, for people.
        layers: the folders of templates that make it up; what is in a later one replaces an earlier one's.
        asynchronous: whether its database is an ``AsyncDatabase``.
        serve: the command of its server, without the address.
        packages: what it needs beside respool's extra.
        dev: what its tests and types need.
        files: what only it has, for the README: file and meaning.
        extra: further values of the templates.
    """

    title: str
    layers: tuple[str, ...]
    asynchronous: bool
    serve: tuple[str, ...]
    packages: tuple[str, ...]
    dev: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    extra: tuple[tuple[str, str], ...] = ()


_DJANGO_SETTINGS = """
| `SECRET_KEY` | made anew at each start | Django's; give it where several processes sign |
| `ALLOWED_HOSTS` | `localhost,127.0.0.1` | the names that it is asked by, with commas |
| `DEBUG` | | `1`: Django's own error pages |"""
_UVICORN = ("uvicorn", "{{name}}.app:app", "--timeout-graceful-shutdown", "30")
_GUNICORN = ("gunicorn",)  # the rest is in its gunicorn.conf.py

FRAMEWORKS: dict[str, Framework] = {
    "fastapi": Framework(
        title="FastAPI",
        layers=("shared", "aio", "fastapi"),
        asynchronous=True,
        serve=_UVICORN,
        packages=("uvicorn>=0.30",),
        dev=("httpx2>=2.0",),
        files=(("app.py", "the application"), ("routes.py", "the routes"), ("schemas.py", "what goes in and out")),
        extra=(("readme_docs", "\n| `/docs` | all routes, to be tried |"),),
    ),
    "flask": Framework(
        title="Flask",
        layers=("shared", "threads", "flask"),
        asynchronous=False,
        serve=(*_GUNICORN, "{{name}}.app:app"),
        packages=("gunicorn>=23.0",),
        dev=(),
        files=(("app.py", "the application"), ("routes.py", "the routes"), ("schemas.py", "what goes in and out")),
    ),
    "litestar": Framework(
        title="Litestar",
        layers=("shared", "aio", "litestar"),
        asynchronous=True,
        serve=_UVICORN,
        packages=("litestar>=2.25", "uvicorn>=0.30"),  # the first with FromPath and NamedDependency
        dev=(),
        files=(("app.py", "the application"), ("routes.py", "the routes"), ("schemas.py", "what goes in and out")),
        extra=(("readme_docs", "\n| `/schema/swagger` | all routes, to be tried |"),),
    ),
    "django": Framework(
        title="Django",
        layers=("shared", "threads", "django"),
        asynchronous=False,
        serve=(*_GUNICORN, "{{name}}.wsgi"),
        packages=("gunicorn>=23.0",),
        dev=("django-stubs>=5.2",),
        files=(
            ("settings.py", "Django's settings"),
            ("urls.py", "which address leads to which view"),
            ("views.py", "the views"),
            ("schemas.py", "what goes in and out"),
        ),
        extra=(
            ("compose_settings", "\n    SECRET_KEY: ${SECRET_KEY:-}\n    ALLOWED_HOSTS: localhost,127.0.0.1"),
            ("readme_settings", _DJANGO_SETTINGS),
        ),
    ),
}

#: The databases, and for each what is said of it in the README.
DATABASES: dict[str, str] = {
    "sqlite": "Both make `.venv`, and need Python 3.11 or newer and nothing else. The data is in `{{name}}.db`; "
    "`docker compose up --build` runs the same with PostgreSQL.",
    "postgresql": "Both make `.venv`, and need Python 3.11 or newer. They start the PostgreSQL of `compose.yaml` by Docker, "
    "or use another one: `make test DATABASE_URL=postgresql://…`, whose user may create databases.",
}


def values(name: str, framework: str, database: str) -> dict[str, str]:
    """What stands for the placeholders of the templates.

    Args:
        name: of the application.
        framework: a key of ``FRAMEWORKS``.
        database: a key of ``DATABASES``.
    """
    chosen = FRAMEWORKS[framework]
    sqlite = database == "sqlite"
    extras = [framework, "postgresql"]
    if chosen.asynchronous:
        extras.append("aiosqlite" if sqlite else "asyncio")
    needed = ["alembic>=1.14", f"respool[{','.join(sorted(extras))}]>=0.2", *chosen.packages]
    dev = ["mypy>=1.18", "pytest-xdist>=3.6", "respool[testing]>=0.2", "ruff>=0.14", *chosen.dev]
    file = "sqlite+aiosqlite" if chosen.asynchronous else "sqlite"
    server, *arguments = [word.replace("{{name}}", name) for word in chosen.serve]
    bind = ["--bind", "0.0.0.0:8000"] if server == "gunicorn" else ["--host", "0.0.0.0", "--port", "8000"]
    local = "--bind 127.0.0.1:$(PORT)" if server == "gunicorn" else "--port $(PORT)"
    return {
        "name": name,
        "title": chosen.title,
        "default_url": f"{file}:///{name}.db"
        if sqlite
        else f"postgresql+psycopg://{name}:{name}@127.0.0.1:5432/{name}",
        "more_drivers": ', "sqlite": "sqlite+aiosqlite"' if sqlite and chosen.asynchronous else "",
        "dependencies": _listed(needed),
        "dev_dependencies": _listed(dev),
        "serve": " ".join([f".venv/bin/{server}", *arguments, local]),
        "serve_in_container": "[" + ", ".join(f'"{word}"' for word in [server, *arguments, *bind]) + "]",
        "needs_database": "" if sqlite else " $(if $(DATABASE_URL),,database)",
        "readme_database": DATABASES[database].replace("{{name}}", name),
        "readme_files": "\n".join(f"| `{name}/{file}` | {what} |" for file, what in chosen.files),
        "readme_docs": "",
        "readme_settings": "",
        "compose_settings": "",
        "server_files": " gunicorn.conf.py" if server == "gunicorn" else "",
        **dict(chosen.extra),
    }


def _listed(requirements: list[str]) -> str:
    return "\n".join(f'  "{each}",' for each in sorted(requirements))
