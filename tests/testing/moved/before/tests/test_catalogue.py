from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from library.extensions import db
from library.models import Author, Book, Loan, Tag


def test_there_are_no_authors(client: FlaskClient) -> None:
    assert client.get("/authors").json == []


def test_authors_are_listed(client: FlaskClient, author: Author, book: Book) -> None:
    assert client.get("/authors").json == [{"id": author.id, "name": "Stanisław Lem", "books": ["Solaris"]}]


def test_an_author_is_added(client: FlaskClient) -> None:
    answer = client.post("/authors", json={"name": "Octavia Butler"})
    assert answer.status_code == 201
    assert db.session.get(Author, answer.json["id"]).name == "Octavia Butler"


def test_an_author_is_not_added_twice(client: FlaskClient, author: Author) -> None:
    answer = client.post("/authors", json={"name": author.name})
    assert answer.status_code == 409
    assert answer.json == {"error": "the database does not allow that"}


def test_after_a_refusal_work_goes_on(client: FlaskClient, author: Author) -> None:
    client.post("/authors", json={"name": author.name})
    assert client.post("/authors", json={"name": "another"}).status_code == 201
    assert db.session.query(Author).count() == 2


def test_an_author_that_is_not_there(client: FlaskClient) -> None:
    assert client.get("/authors/9").status_code == 404


def test_a_book_is_added(client: FlaskClient, author: Author) -> None:
    answer = client.post("/books", json={"title": "Eden", "author_id": author.id, "tags": ["space"]})
    assert answer.status_code == 201
    assert answer.json["tags"] == ["space"]
    assert author.books[0].title == "Eden"


def test_a_tag_that_is_there_is_used(client: FlaskClient, author: Author, book: Book) -> None:
    client.post("/books", json={"title": "Eden", "author_id": author.id, "tags": ["space", "new"]})
    assert Tag.query.count() == 3


def test_a_book_is_shown(client: FlaskClient, book: Book) -> None:
    assert client.get(f"/books/{book.id}").json == {
        "id": book.id,
        "title": "Solaris",
        "author": "Stanisław Lem",
        "copies": 2,
        "tags": ["novel", "space"],
    }


def test_a_book_is_changed(client: FlaskClient, book: Book) -> None:
    assert client.patch(f"/books/{book.id}", json={"copies": 5}).json["copies"] == 5
    assert book.copies == 5
    assert book.title == "Solaris"


def test_a_change_that_is_refused(client: FlaskClient, book: Book) -> None:
    assert client.patch(f"/books/{book.id}", json={"copies": -1}).status_code == 409
    assert book.copies == 2


def test_a_book_is_removed(client: FlaskClient, book: Book) -> None:
    book_id = book.id
    assert client.delete(f"/books/{book_id}").status_code == 204
    assert db.session.get(Book, book_id) is None


def test_a_book_that_is_lent_is_kept(client: FlaskClient, loan: Loan) -> None:
    assert client.delete(f"/books/{loan.book_id}").status_code == 409
    assert Book.query.count() == 1


@pytest.fixture
def shelf(author: Author) -> None:
    db.session.add_all(Book(title=f"Volume {number}", author=author) for number in range(1, 8))
    db.session.commit()


def test_books_come_in_pages(client: FlaskClient, shelf: None) -> None:
    answer = client.get("/books").json
    assert [book["title"] for book in answer["books"]] == [f"Volume {number}" for number in range(1, 6)]
    assert answer["more"]


def test_the_last_page(client: FlaskClient, shelf: None) -> None:
    answer = client.get("/books?page=2").json
    assert [book["title"] for book in answer["books"]] == ["Volume 6", "Volume 7"]
    assert not answer["more"]


def test_books_by_tag(client: FlaskClient, shelf: None, book: Book) -> None:
    assert [each["title"] for each in client.get("/books?tag=space").json["books"]] == ["Solaris"]


def test_books_by_a_word(client: FlaskClient, shelf: None, book: Book) -> None:
    assert [each["title"] for each in client.get("/books?word=LAR").json["books"]] == ["Solaris"]
