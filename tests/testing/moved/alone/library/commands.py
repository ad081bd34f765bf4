from __future__ import annotations

import datetime as dt

import click
from flask import Flask

from library.extensions import Base, db
from library.models import Author, Book, Loan


def register(app: Flask) -> None:
    @app.cli.command("init-db")
    def init_db() -> None:
        Base.metadata.create_all(db.database.engine)
        click.echo("The tables are there.")

    @app.cli.command("seed")
    def seed() -> None:
        author = Author(name="Ursula K. Le Guin")
        db.session.add_all([author, Book(title="The Dispossessed", author=author, copies=2)])
        db.session.commit()
        click.echo(f"{author.name} is on the shelf.")

    @app.cli.command("overdue")
    def overdue() -> None:
        for loan in Loan.query.filter(Loan.due < dt.date.today()).order_by(Loan.due):
            click.echo(f"{loan.member.card} {loan.book.title}")

    @app.shell_context_processor
    def shell() -> dict[str, object]:
        return {"db": db, "Author": Author, "Book": Book, "Loan": Loan}
