"""The class that a database's sessions are of: ours, or a user's that ours is mixed into.

A class of the user's knows nothing of scopes. So one is made of both, as if he had written ``class ShopSession(ShopSession,
respool.Session)``: his methods are on top, and what they call by ``super()`` is ours. What a session has to know of its
scope is laid into it before his constructor runs, which may have whatever arguments he likes.
"""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from typing import Any, ClassVar, NoReturn, TypeVar, cast

from sqlalchemy import orm
from sqlalchemy.exc import ArgumentError

from respool.config import suggest
from respool.errors import ConfigError, ScopeError
from respool.scope.scope import Scope
from respool.session import listeners
from respool.session.life import Life, Own, begin_life, life_of
from respool.session.loading.templates import template_of
from respool.session.operations import require_usable
from respool.session.reads.begin import BeginRule
from respool.session.session import Session
from respool.session.transaction.observers import Observers
from respool.whereabouts import caller

__all__ = [
    "SessionClass",
    "asking",
    "check_class",
    "check_constructor",
    "check_names",
    "check_options",
    "has_own_constructor",
    "mixed",
    "own_of",
    "session_options",
]

T = TypeVar("T")

#: What a database decides, and what there is instead of the option.
_RESERVED = {
    "bind": "leave it out: sessions are bound to the database; for further engines there is binds={Model: engine}",
    "scope": "leave it out: db.session and db.scope() give a session its scope",
    "begin": 'it is an argument of the database: Database(url, begin="on_use")',
    "observers": "leave it out, and add each one: db.observe(observer)",
    "twophase": "it is an argument of the database: Database(url, twophase=True)",
    "commit": 'it is an argument of the database: Database(url, commit="on_success")',
    "class_": "it is an argument of the database: Database(url, session_class=ShopSession)",
    "session_class": "it is an argument of the database: Database(url, session_class=ShopSession)",
    "sync_session_class": "on a Database the class itself is asked for: Database(url, session_class=ShopSession)",
    "scopefunc": "leave it out: there is one session for each request and each db.scope() block",
    "autocommit": "leave it out: SQLAlchemy has it no more; statements of their own commit need an engine of their own",
    "future": "leave it out: there is no other way any more",
}
#: Among the names of parameters: any keyword.
_ANY = "**"
#: The modules of classes that are not the user's own.
_NOT_THEIRS = ("sqlalchemy.", "respool.", "builtins", "typing")
#: Held while a class is made, so that there is one.
_mixing = threading.Lock()


class _Heard(orm.Session):
    """Stands above a user's class, with nothing but our listeners: they hear of everything before his own do."""


listeners.sessions(cast("type[Session]", _Heard))


def mixed(given: type[T], ours: type[Any]) -> type[T]:
    """A class that is both: the user's, and ours below it.

    Args:
        given: a class of the user's; of ours, or SQLAlchemy's own, nothing has to be made.
        ours: the one to be mixed in.

    Raises:
        ConfigError: Python refuses to make it.
    """
    if issubclass(given, ours):
        return given
    if issubclass(ours, given):
        return ours
    with _mixing:
        for made in type.__subclasses__(given):
            if vars(made).get("_respool_adds") is ours:
                return made
        return _made(given, ours)


def _made(given: type[T], ours: type[Any]) -> type[T]:
    names: dict[str, Any] = {
        "__doc__": given.__doc__,
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
    }
    names["_respool_adds"] = ours
    above: tuple[type[Any], ...] = ()
    if ours is Session:
        above = (_Heard,)
        if given.get_bind is not orm.Session.get_bind:  # type: ignore[attr-defined]
            names["get_bind"] = _ruled(given.get_bind)  # type: ignore[attr-defined]
    try:
        return types.new_class(given.__name__, (*above, given, ours), exec_body=lambda body: body.update(names))
    except TypeError as error:
        raise ConfigError(
            f"session_class={given.__qualname__} is not accepted: {ours.__name__} cannot be mixed into it",
            now=[f"TypeError: {error}"],
            advice=[f"derive it from ours: class {given.__name__}(respool.{ours.__name__})"],
            setting="session_class",
        ) from error


def _ruled(theirs: Any) -> Any:
    """A user's ``get_bind``, which need not ask ours, under our rules: where it may be used, and a unit's own options."""

    @wraps(theirs)
    def get_bind(self: Any, *args: Any, **kwargs: Any) -> Any:
        life = life_of(self)
        require_usable(life)
        found = theirs(self, *args, **kwargs)
        return found if life.units is None else life.units.bound(found)

    return get_bind


def own_of(cls: Any) -> Own | None:
    """What a class's own ``commit()`` and ``close()`` are to do at an end; ``None`` if it has neither."""
    if cls.commit is Session.commit and cls.close is Session.close:
        return None
    return Own(None, None if cls.close is Session.close else _close)


def _close(session: Any) -> None:
    session.close()


@cache
def session_options() -> tuple[str, ...]:
    """What the installed SQLAlchemy's ``Session`` can be told, beside what a database decides."""
    return tuple(name for name in inspect.signature(orm.Session).parameters if name not in _RESERVED)


class SessionClass:
    """The class of a database's sessions, and the options that each is made with.

    Args:
        given: the class that was asked for; ``None`` for ours.
        options: the options that were asked for.

    Raises:
        ConfigError: the class is none, or the options are not its.
    """

    __slots__ = ("_plainly_made", "_template", "given", "made", "options", "own", "runs")

    ours: ClassVar[type[Any]] = Session  #: what is mixed into the class

    def __init__(self, given: Any, options: Mapping[str, Any] | None) -> None:
        self.given: Any = self.ours if given is None else given  #: what users see of it
        check_class(self.given, self.ours, "session_class")
        self.made: Any = mixed(self.given, self.ours)  #: the class itself
        self.options = check_options(options)
        check_names(self.options, self.made)
        check_constructor(self.made, self.options)
        self._settle()

    @property
    def rules(self) -> Any:
        """The class of the sync session, by which all of them read."""
        return self.made

    def only_here(self) -> type[Any]:
        """The class, for those who listen to its events: one that no other database's sessions are of."""
        if self.made is Session:
            self.made = type("Session", (Session,), {"__module__": __name__, "__doc__": Session.__doc__})
            self._settle()
        made: type[Any] = self.made
        return made

    def _settle(self) -> None:
        self._plainly_made = self.made.__new__ is object.__new__ and self.made.__setattr__ is object.__setattr__
        self._template: Any = None  #: how its sessions are made; ``False`` if only their constructor can
        self.runs = has_own_constructor(self.made)  #: code of the user's runs when one is made
        self.own: Own | None = own_of(self.made)  #: what its own methods do at an end

    def _blank(self, bind: Any) -> Any:
        """An object of the class, whose constructor has not run yet."""
        cls = self.made
        return cls.__new__(cls) if self._plainly_made else cls.__new__(cls, bind=bind, **self.options)

    def make(
        self, bind: Any, scope: Scope, begin: BeginRule, observers: Observers, twophase: bool
    ) -> tuple[Session, Any]:
        """A session of the scope, and what users hold of it.

        Args:
            bind: the engine.
            scope: the scope that it belongs to.
            begin: when a transaction begins.
            observers: who is told of its life.
            twophase: whether several databases are committed in two phases.

        Raises:
            ScopeError: the session asks for itself while it is made.
        """
        if self.made.__init__ is Session.__init__ and self._plainly_made:  # nearly always, and quicker
            template, life = self._template, Life(scope, begin, observers)
            if self.own is not None:
                life.own = self.own
            known = template and template.bind is bind
            ours = template.make(life) if known else self._made_once(bind, life, twophase)
            return ours, ours
        if not self.runs:
            return self._make(bind, scope, begin, observers, twophase)
        if scope.maker == (here := threading.get_ident()):
            raise ScopeError(
                f"the session of {scope.title} was asked for in its own constructor",
                now=[f"asked for at {caller()}", f"the constructor is that of {self.given.__qualname__}"],
                advice=["in there it is self; what needs db.session comes after it is made"],
                scope=scope.label,
            )
        scope.maker = here
        try:
            return self._make(bind, scope, begin, observers, twophase)
        finally:
            scope.maker = None

    def _made_once(self, bind: Any, life: Life, twophase: bool) -> Any:
        """A session that no code of the user's makes, by its constructor; and the template for more of them."""
        session = self.made.__new__(self.made)
        session._respool_life = life
        session.__init__(bind, twophase=twophase, **self.options)
        if self._template is None:
            self._template = template_of(session, bind) or False
        return session

    def _make(
        self, bind: Any, scope: Scope, begin: BeginRule, observers: Observers, twophase: bool
    ) -> tuple[Session, Any]:
        session = self._blank(bind)
        life = begin_life(session, scope, begin, observers, self.own)
        try:
            session.__init__(bind=bind, **self.options)
        except BaseException:
            life.drop(session)
            raise
        session.twophase = session.twophase or twophase
        if session.bind is None:  # his constructor did not hand it on
            session.bind = bind
        return session, session


def asking(cls: type[Any]) -> Callable[[Any], Any]:
    """The method of a database that gives its session, with its class in the annotations."""

    def current_session(self: Any) -> Any:
        return self.session

    current_session.__annotations__ = {"return": cls}
    return current_session


# -- refusals ---------------------------------------------------------------------------------------------------------


def check_class(given: Any, ours: type[Any], setting: str) -> None:
    """Refuse what is no class of sessions.

    Args:
        given: what was given.
        ours: our own class of this kind.
        setting: what it was given for.

    Raises:
        ConfigError: it is something else; the advice is for those who meant a class.
    """
    theirs = next(cls for cls in ours.__mro__ if not cls.__module__.startswith("respool."))
    if isinstance(given, type) and issubclass(given, theirs):
        return
    what, advice = _mistaken(given, ours, setting)
    raise ConfigError(
        f"{setting}={what} is not accepted",
        advice=[*advice, f"it is a class: a subclass of SQLAlchemy's {ours.__name__}, of SQLModel's, or of ours"],
        setting=setting,
    )


def _mistaken(given: Any, ours: type[Any], setting: str) -> tuple[str, list[str]]:
    """What somebody has given for a class, and what he may have meant."""
    kind = type(given).__name__
    if kind in ("scoped_session", "async_scoped_session"):
        instead = "leave it out: db.session is what it was for, one session for each request or db.scope() block"
        return f"a {kind}", [instead, *_what_it_makes(given.session_factory, setting)]
    if kind in ("sessionmaker", "async_sessionmaker"):
        return f"a {kind}", _what_it_makes(given, setting)
    if not isinstance(given, type):
        if isinstance(given, orm.Session):
            return f"a {kind} object", [f"give its class, {kind}: each request has a session of its own"]
        return repr(given), []
    if issubclass(given, orm.Session):
        instead = f'AsyncDatabase(url, session_options={{"sync_session_class": {given.__name__}}})'
        return given.__qualname__, [f"an async session has a sync one inside, which can be of this class: {instead}"]
    if hasattr(given, "sync_session_class") and ours is Session:
        return given.__qualname__, ["a Database has sync sessions; for this one there is AsyncDatabase"]
    return given.__qualname__, []


def _what_it_makes(maker: Any, setting: str) -> list[str]:
    if not hasattr(maker, "class_"):
        return []
    options = ", ".join(f'"{name}": {value!r}' for name, value in maker.kw.items() if name not in _RESERVED)
    cls = maker.class_.__name__
    return [f"give what it makes, and the options that differ: {setting}={cls}, session_options={{{options}}}"]


def check_options(options: Any) -> dict[str, Any]:
    """The options of a session, as a dict of one's own; their values are tried.

    Raises:
        ConfigError: it is no mapping, or SQLAlchemy does not accept a value.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        _refuse(
            "session_options",
            f"session_options={options!r} is not accepted",
            'write a dict of options of SQLAlchemy\'s Session: session_options={"expire_on_commit": True}',
        )
    known = session_options()
    try:  # a session opens nothing; but its binds may name models that are not complete before later
        orm.Session(**{name: value for name, value in options.items() if name in known and name != "binds"})
    except (ArgumentError, TypeError, ValueError) as error:
        _refuse("session_options", f"session_options={options!r} is not accepted", f"what SQLAlchemy says: {error}")
    if not isinstance(options.get("binds", {}), Mapping):
        _refuse("binds", f"binds={options['binds']!r} is not accepted", "write a dict: {Model: engine}")
    return dict(options)


def check_names(options: Mapping[str, Any], *classes: type[Any]) -> None:
    """Refuse options that there are not, or that are not the session's to decide.

    Args:
        options: what was asked for.
        classes: their constructors may take more than SQLAlchemy's.

    Raises:
        ConfigError: there is one.
    """
    own = [name for cls in classes for name in _own_parameters(cls)]
    known = [*session_options(), *(name for name in own if name not in _RESERVED and name != _ANY)]
    for name in options:
        if name in known:
            continue
        if name in _RESERVED:
            _refuse(name, f'session_options={{"{name}": …}} is not accepted', _RESERVED[name])
        near = suggest(name, known)
        if near or _ANY not in own:  # else a constructor of his will know what it is
            _refuse(name, f"unknown option {name!r} in session_options{near}", f"options: {', '.join(known)}")


def _own_parameters(cls: type[Any]) -> Iterator[str]:
    """What the constructors of the user's own classes take."""
    for constructor in _own_constructors(cls):
        for parameter in _parameters(constructor):
            if parameter.kind is parameter.VAR_KEYWORD:
                yield _ANY
            elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                yield parameter.name


def _own_constructors(cls: type[Any]) -> Iterator[Callable[..., Any]]:
    for each in cls.__mro__:
        if "__init__" in vars(each) and not each.__module__.startswith(_NOT_THEIRS):
            yield vars(each)["__init__"]


def has_own_constructor(cls: type[Any]) -> bool:
    """Whether a class has a constructor that is neither SQLAlchemy's nor ours."""
    return any(True for _ in _own_constructors(cls))


def check_constructor(cls: Any, options: Mapping[str, Any]) -> None:
    """Refuse a class that cannot be called with the engine and these options.

    Raises:
        ConfigError: its constructor takes something else.
    """
    try:
        inspect.Signature(_parameters(cls.__init__)).bind(bind=None, **options)
    except TypeError as error:
        name = cls.__qualname__
        raise ConfigError(
            f"{name}(bind=engine{''.join(f', {option}=…' for option in options)}) cannot be called: {error}",
            advice=[
                "give what it needs a default, or a value in session_options={…}",
                "or let it hand on what it does not know: def __init__(self, bind=None, **options):"
                + " super().__init__(bind, **options)",
            ],
            setting="session_class",
        ) from None


def _parameters(constructor: Callable[..., Any]) -> list[inspect.Parameter]:
    """Without ``self``."""
    parameters = list(inspect.signature(constructor).parameters.values())
    return parameters[1:] if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL else parameters


def _refuse(setting: str, headline: str, advice: str) -> NoReturn:
    raise ConfigError(headline, advice=[advice], setting=setting)
