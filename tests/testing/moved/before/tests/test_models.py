from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy.exc import IntegrityError

from library.extensions import db
from library.models import Author, Book, LibraryMember, Loan, Tag


def test_an_author_has_books(author: Author, book: Book) -> None:
    assert author.books == [book]


def test_books_of_an_author_are_in_order(author: Author, book: Book) -> None:
    db.session.add(Book(title="Eden", author=author))
    db.session.commit()
    assert [each.title for each in author.books] == ["Eden", "Solaris"]


def test_a_book_has_one_copy_by_default(author: Author) -> None:
    book = Book(title="Fiasco", author=author)
    db.session.add(book)
    db.session.commit()
    assert book.copies == 1


def test_copies_are_never_negative(book: Book) -> None:
    book.copies = -1
    with pytest.raises(IntegrityError):
        db.session.commit()
    db.session.rollback()
    assert book.copies == 2


def test_names_of_authors_are_unique(author: Author) -> None:
    db.session.add(Author(name=author.name))
    with pytest.raises(IntegrityError):
        db.session.commit()
    db.session.rollback()


def test_tags_are_shared(author: Author, book: Book) -> None:
    tag = db.session.execute(db.select(Tag).filter_by(name="novel")).scalar_one()
    db.session.add(Book(title="Eden", author=author, tags=[tag]))
    db.session.commit()
    assert db.session.scalar(db.select(db.func.count()).select_from(Tag)) == 2


def test_a_member_is_active_from_the_start(member: LibraryMember) -> None:
    assert member.active
    assert isinstance(member.joined, dt.datetime)


def test_loans_go_with_their_book(book: Book, loan: Loan) -> None:
    db.session.delete(book)
    db.session.commit()
    assert db.session.execute(db.select(Loan)).all() == []


def test_a_rollback_takes_back(author: Author) -> None:
    author.name = "somebody else"
    db.session.flush()
    db.session.rollback()
    assert author.name == "Stanisław Lem"


def test_tables_have_the_names_of_their_classes() -> None:
    assert [model.__tablename__ for model in (Author, LibraryMember)] == ["author", "library_member"]
