from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from library import create_app
from library.extensions import Base, db
from library.models import Author, Book, LibraryMember, Loan, Tag


@pytest.fixture
def app() -> Iterator[Flask]:
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"})
    with app.app_context():
        Base.metadata.create_all(db.database.engine)
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture
def author(app: Flask) -> Author:
    author = Author(name="Stanisław Lem")
    db.session.add(author)
    db.session.commit()
    return author


@pytest.fixture
def book(author: Author) -> Book:
    book = Book(title="Solaris", author=author, copies=2, tags=[Tag(name="novel"), Tag(name="space")])
    db.session.add(book)
    db.session.commit()
    return book


@pytest.fixture
def member(app: Flask) -> LibraryMember:
    member = LibraryMember(card="A1", name="Ada")
    db.session.add(member)
    db.session.commit()
    return member


@pytest.fixture
def loan(book: Book, member: LibraryMember) -> Loan:
    loan = Loan(book=book, member=member, due=dt.date(2026, 1, 31))
    db.session.add(loan)
    db.session.commit()
    return loan
