import re
from typing import Any

import sqlalchemy
from flask import abort
from sqlalchemy.orm import DeclarativeBase, declared_attr

from respool.web.flask import Respool


class Base(DeclarativeBase):
    @declared_attr.directive
    def __tablename__(cls) -> str:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class Extension(Respool[Any]):
    Model = Base

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlalchemy, name)

    def get_or_404(self, model: type[Any], key: Any) -> Any:
        return self.session.get(model, key) or abort(404)


db = Extension()
Base.query = db.session.query_property()
