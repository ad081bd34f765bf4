"""A COMMIT on a connection that the server has already closed, under every driver of a server."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from respool import Session
from respool.engine.drivers import has_something_to_say
from tests.drivers.driver import Shop, pool_of

pytestmark = pytest.mark.drivers(server=True)


@pytest.mark.parametrize("read", [False, True])
def test_x(shop: Shop, read: bool) -> None:
    engine = shop.engine(max_size=1)
    shop.make_table(engine)
    session = Session(engine)
    session.execute(sa.text("INSERT INTO t VALUES (2)"))
    dbapi_connection = session.connection().connection.dbapi_connection
    if read:
        shop.terminate()
        shop.until(lambda: has_something_to_say(dbapi_connection))
    else:
        shop.server.terminate_backends(shop.database)
    try:
        session.commit()
    except BaseException as e:
        print("GOT", type(e).__mro__[:3], str(e)[:300], repr(e.__cause__)[:200])
    session.rollback()
