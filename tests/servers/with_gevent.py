"""gevent's own server: ``python -m tests.servers.with_gevent PORT``. SIGTERM lets the requests under way finish."""

from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

from tests.servers.wsgi_shop import app, db  # noqa: E402

server = WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None)
gevent.signal_handler(signal.SIGTERM, server.stop, 30)
server.serve_forever(stop_timeout=30)
db.close()
