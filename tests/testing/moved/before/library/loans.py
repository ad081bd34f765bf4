from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Blueprint, abort, current_app, request
from sqlalchemy import func
from sqlalchemy.orm import joinedload

from library.extensions import db
from library.members import member_with
from library.models import Book, LibraryMember, Loan

blueprint = Blueprint("loans", __name__, url_prefix="/loans")
MOST = 3


@blueprint.get("")
def loans() -> list[dict[str, Any]]:
    query = db.select(Loan).options(joinedload(Loan.book), joinedload(Loan.member)).order_by(Loan.due, Loan.id)
    return [loan.as_dict() for loan in db.session.execute(query).scalars()]


@blueprint.post("")
def lend() -> tuple[dict[str, Any], int]:
    given = request.get_json()
    book = db.get_or_404(Book, given["book_id"])
    member = member_with(given["card"])
    if not member.active:
        abort(403, "this card is not valid any more")
    if Loan.query.filter_by(member=member).count() >= MOST:
        abort(409, f"{MOST} books at most")
    loan = Loan(book=book, member=member, due=dt.date.today() + dt.timedelta(current_app.config["LOAN_DAYS"]))
    book.copies -= 1
    db.session.add(loan)
    db.session.commit()
    return loan.as_dict(), 201


@blueprint.post("/<int:loan_id>/renewal")
def renew(loan_id: int) -> dict[str, Any]:
    loan = db.get_or_404(Loan, loan_id)
    if loan.renewals >= 2:
        abort(409, "twice at most")
    loan.renewals += 1
    loan.due += dt.timedelta(current_app.config["LOAN_DAYS"])
    db.session.commit()
    return loan.as_dict()


@blueprint.delete("/<int:loan_id>")
def bring_back(loan_id: int) -> tuple[str, int]:
    loan = db.get_or_404(Loan, loan_id)
    loan.book.copies += 1
    db.session.delete(loan)
    db.session.commit()
    return "", 204


@blueprint.get("/by-member")
def by_member() -> dict[str, int]:
    query = db.select(LibraryMember.card, func.count(Loan.id)).join(LibraryMember.loans).group_by(LibraryMember.card)
    return dict(db.session.execute(query).all())
