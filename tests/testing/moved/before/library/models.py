from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from library.extensions import db

book_tag = db.Table(
    "book_tag",
    db.Column("book_id", db.ForeignKey("book.id"), primary_key=True),
    db.Column("tag_id", db.ForeignKey("tag.id"), primary_key=True),
)


class Author(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)

    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.title")

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "books": [book.title for book in self.books]}


class Tag(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Book(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    copies: Mapped[int] = mapped_column(CheckConstraint("copies >= 0"), default=1)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))

    author: Mapped[Author] = relationship(back_populates="books")
    tags: Mapped[list[Tag]] = relationship(secondary=book_tag, order_by="Tag.name")
    loans: Mapped[list[Loan]] = relationship(back_populates="book", cascade="all, delete-orphan")

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "author": self.author.name,
            "copies": self.copies,
            "tags": [tag.name for tag in self.tags],
        }


class LibraryMember(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    card: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    joined: Mapped[dt.datetime] = mapped_column(server_default=func.now())

    loans: Mapped[list[Loan]] = relationship(back_populates="member", order_by="Loan.due")

    def as_dict(self) -> dict[str, Any]:
        return {"card": self.card, "name": self.name, "active": self.active, "loans": len(self.loans)}


class Loan(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("book.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("library_member.id"))
    due: Mapped[dt.date]
    renewals: Mapped[int] = mapped_column(default=0)

    book: Mapped[Book] = relationship(back_populates="loans")
    member: Mapped[LibraryMember] = relationship(back_populates="loans")

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "book": self.book.title, "member": self.member.card, "due": self.due.isoformat()}
