"""Django's mapper with psycopg's pool: autocommit, its default, and ``atomic()`` where there is more than one change."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied

from benchmarks.applications.models import plain
from benchmarks.applications.routes import ACTS_OF_THREADS, STREAM, Late, portions_of_threads

urlpatterns: list[Any] = []


class Work:
    def __init__(self) -> None:
        from django.db import models

        class Item(models.Model):
            name = models.TextField()
            stock = models.IntegerField()

            class Meta:
                app_label, db_table, managed = "bench", "item", False

        class Order(models.Model):
            token = models.TextField()
            item_id = models.IntegerField()

            class Meta:
                app_label, db_table, managed = "bench", "orders", False

        self.items: Any = Item.objects
        self.orders: Any = Order.objects

    def read(self, session: Any, number: int) -> dict[str, Any]:
        return plain(self.items.get(pk=number))

    def listing(self, session: Any) -> list[dict[str, Any]]:
        return [plain(item) for item in self.items.order_by("id")[:100]]

    def stock(self, session: Any, number: int) -> int:
        return int(self.items.values_list("stock", flat=True).get(pk=number))

    def write(self, session: Any, token: str, item: int) -> None:
        self.orders.create(token=token, item_id=item)

    def sell(self, session: Any, number: int, token: str) -> None:
        from django.db import transaction
        from django.db.models import F

        with transaction.atomic():
            item = self.items.get(pk=number)
            self.items.filter(pk=item.pk).update(stock=F("stock") - 1)
            self.orders.create(token=token, item_id=number)

    def sleep(self, session: Any, seconds: float) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])

    def declined(self, session: Any, token: str, error: Exception) -> None:
        from django.db import transaction

        with transaction.atomic():
            self.orders.create(token=token, item_id=1)
            raise error


def make(url: str, size: int) -> Any:
    parts = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "NAME": parts.path[1:],
        "OPTIONS": {"pool": {"min_size": 1, "max_size": size}},
    }
    settings.configure(ALLOWED_HOSTS=["*"], DATABASES={"default": database}, ROOT_URLCONF=__name__, USE_TZ=True)
    django.setup()

    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponseNotAllowed, JsonResponse, StreamingHttpResponse
    from django.urls import path as at

    work, kept = Work(), []  # type: ignore[var-annotated]
    by_path: dict[str, dict[str, Any]] = {}
    for (method, path), act in ACTS_OF_THREADS.items():
        by_path.setdefault(path, {})[method] = act
    by_path["/late"]["GET"] = lambda *_: {"outcome": Late.outcome}

    def view(acts: dict[str, Any]) -> Any:
        def answer(request: Any, **params: Any) -> Any:
            if request.method not in acts:
                return HttpResponseNotAllowed(list(acts))
            data = acts[request.method](work, None, params | {"error": PermissionDenied(), "keep": kept})
            return StreamingHttpResponse(portions_of_threads()) if data is STREAM else JsonResponse(data, safe=False)

        return answer

    for path, acts in by_path.items():
        rule = path[1:].replace("{", "<str:").replace("}", ">")
        urlpatterns.append(at(rule, view(acts)))
    return get_wsgi_application()
