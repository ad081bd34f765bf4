"""For tests that are classes: ``unittest``'s, and Django's ``TestCase``, which rolls back only what Django's own ORM does."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Any, ClassVar

from respool.testing.isolation.rollback import rolled_back
from respool.testing.isolation.template import DatabaseTemplate

__all__ = ["RolledBack"]

if TYPE_CHECKING:
    _Base = unittest.TestCase
else:  # it is mixed into one, whichever
    _Base = object


class RolledBack(_Base):
    """Mixed into a test class, in front: what a test commits is gone after it. No developer's database is written to.

    ```python
    class ShopTests(RolledBack, django.test.TestCase):
        respool_database = DatabaseTemplate(db, Base.metadata.create_all)
    ```

    Each class has a database of its own, made from the template; each test is rolled back.
    """

    #: What is tested: a template, a database as it is, or several of these.
    respool_database: ClassVar[Any] = ()

    @classmethod
    def setUpClass(cls) -> None:
        """See ``unittest.TestCase``."""
        for each in _several(cls.respool_database):
            if isinstance(each, DatabaseTemplate):
                cls.enterClassContext(each)
        super().setUpClass()

    def setUp(self) -> None:
        """See ``unittest.TestCase``."""
        for each in _several(self.respool_database):
            self.enterContext(each.rolled_back() if isinstance(each, DatabaseTemplate) else rolled_back(each))
        super().setUp()


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,)
