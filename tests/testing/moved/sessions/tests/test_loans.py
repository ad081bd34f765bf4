from __future__ import annotations

import datetime as dt

from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from library.extensions import db
from library.models import Author, Book, LibraryMember, Loan


def test_a_book_is_lent(client: FlaskClient, book: Book, member: LibraryMember) -> None:
    answer = client.post("/loans", json={"book_id": book.id, "card": "A1"})
    assert answer.status_code == 201
    assert book.copies == 1
    assert [each.book for each in member.loans] == [book]


def test_how_long_is_a_setting(monkeypatch, app: Flask, client: FlaskClient, book: Book, member: LibraryMember) -> None:
    monkeypatch.setitem(app.config, "LOAN_DAYS", 7)
    answer = client.post("/loans", json={"book_id": book.id, "card": "A1"})
    assert answer.json["due"] == (dt.date.today() + dt.timedelta(7)).isoformat()


def test_the_last_copy(client: FlaskClient, book: Book, member: LibraryMember) -> None:
    book.copies = 0
    db.session.commit()
    assert client.post("/loans", json={"book_id": book.id, "card": "A1"}).status_code == 409
    assert Loan.query.count() == 0


def test_nobody_else_gets_a_book(client: FlaskClient, book: Book) -> None:
    assert client.post("/loans", json={"book_id": book.id, "card": "Z9"}).status_code == 404
    assert book.copies == 2


def test_who_has_left_gets_none(client: FlaskClient, book: Book, member: LibraryMember) -> None:
    client.delete("/members/A1")
    assert client.post("/loans", json={"book_id": book.id, "card": "A1"}).status_code == 403


def test_three_books_at_most(client: FlaskClient, book: Book, member: LibraryMember) -> None:
    book.copies = 9
    db.session.commit()
    statuses = [client.post("/loans", json={"book_id": book.id, "card": "A1"}).status_code for _ in range(4)]
    assert statuses == [201, 201, 201, 409]
    assert book.copies == 6


def test_loans_are_listed_by_their_day(client: FlaskClient, book: Book, loan: Loan) -> None:
    client.post("/loans", json={"book_id": book.id, "card": "A1"})
    assert [each["book"] for each in client.get("/loans").json] == ["Solaris", "Solaris"]


def test_a_loan_is_renewed_twice(client: FlaskClient, loan: Loan) -> None:
    statuses = [client.post(f"/loans/{loan.id}/renewal").status_code for _ in range(3)]
    assert statuses == [200, 200, 409]
    assert loan.due == dt.date(2026, 3, 28)


def test_a_book_is_brought_back(client: FlaskClient, book: Book, loan: Loan) -> None:
    assert client.delete(f"/loans/{loan.id}").status_code == 204
    assert book.copies == 3
    assert book.loans == []


def test_loans_are_counted_by_member(client: FlaskClient, loan: Loan) -> None:
    assert client.get("/loans/by-member").json == {"A1": 1}


def test_what_is_overdue_is_told(runner: FlaskCliRunner, loan: Loan) -> None:
    assert runner.invoke(args=["overdue"]).output == "A1 Solaris\n"


def test_what_is_not_overdue_is_not(runner: FlaskCliRunner, loan: Loan) -> None:
    loan.due = dt.date.today()
    db.session.commit()
    assert runner.invoke(args=["overdue"]).output == ""


def test_shelves_are_filled(runner: FlaskCliRunner) -> None:
    assert runner.invoke(args=["seed"]).output == "Ursula K. Le Guin is on the shelf.\n"
    assert db.session.scalars(db.select(Author.name)).all() == ["Ursula K. Le Guin"]


def test_tables_are_made(runner: FlaskCliRunner) -> None:
    assert runner.invoke(args=["init-db"]).output == "The tables are there.\n"
