from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request
from sqlalchemy import select

from library.extensions import db
from library.models import Author, Book, Tag

blueprint = Blueprint("catalogue", __name__)


@blueprint.get("/authors")
def authors() -> list[dict[str, Any]]:
    found = db.session.execute(db.select(Author).order_by(Author.name)).scalars()
    return [author.as_dict() for author in found]


@blueprint.post("/authors")
def add_author() -> tuple[dict[str, Any], int]:
    author = Author(name=request.get_json()["name"])
    db.session.add(author)
    db.session.commit()
    return author.as_dict(), 201


@blueprint.get("/authors/<int:author_id>")
def author(author_id: int) -> dict[str, Any]:
    return db.get_or_404(Author, author_id).as_dict()


@blueprint.get("/books")
def books() -> dict[str, Any]:
    query = select(Book).order_by(Book.title)
    if tag := request.args.get("tag"):
        query = query.join(Book.tags).where(Tag.name == tag)
    if word := request.args.get("word"):
        query = query.where(Book.title.icontains(word))
    page = max(request.args.get("page", 1, int), 1)
    found = db.session.scalars(query.limit(6).offset(5 * (page - 1))).all()
    return {"books": [book.as_dict() for book in found[:5]], "more": len(found) > 5}


@blueprint.post("/books")
def add_book() -> tuple[dict[str, Any], int]:
    given = request.get_json()
    author = db.get_or_404(Author, given["author_id"])
    tags = [tag_named(name) for name in given.get("tags", ())]
    book = Book(title=given["title"], author=author, copies=given.get("copies", 1), tags=tags)
    db.session.add(book)
    db.session.commit()
    return book.as_dict(), 201


def tag_named(name: str) -> Tag:
    tag = db.session.execute(db.select(Tag).filter_by(name=name)).scalar_one_or_none()
    if tag is None:
        tag = Tag(name=name)
        db.session.add(tag)
    return tag


@blueprint.get("/books/<int:book_id>")
def book(book_id: int) -> dict[str, Any]:
    return db.get_or_404(Book, book_id).as_dict()


@blueprint.patch("/books/<int:book_id>")
def change_book(book_id: int) -> dict[str, Any]:
    book = db.get_or_404(Book, book_id)
    given = request.get_json()
    book.title = given.get("title", book.title)
    book.copies = given.get("copies", book.copies)
    db.session.commit()
    return book.as_dict()


@blueprint.delete("/books/<int:book_id>")
def remove_book(book_id: int) -> tuple[str, int]:
    book = db.get_or_404(Book, book_id)
    if book.loans:
        abort(409, "it is lent")
    db.session.delete(book)
    db.session.commit()
    return "", 204
