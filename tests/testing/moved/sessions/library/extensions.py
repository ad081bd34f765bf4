from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from respool.web.flask import Respool


class Base(DeclarativeBase):
    pass


sessions = Respool()
db = SQLAlchemy(model_class=Base)
db.session = sessions.session
