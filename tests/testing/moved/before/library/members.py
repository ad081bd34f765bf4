from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request

from library.extensions import db
from library.models import LibraryMember

blueprint = Blueprint("members", __name__, url_prefix="/members")


@blueprint.get("")
def members() -> list[dict[str, Any]]:
    found = db.session.scalars(db.select(LibraryMember).order_by(LibraryMember.card))
    return [member.as_dict() for member in found]


@blueprint.post("")
def join() -> tuple[dict[str, Any], int]:
    given = request.get_json()
    member = LibraryMember(card=given["card"], name=given["name"])
    db.session.add(member)
    db.session.commit()
    return member.as_dict(), 201


@blueprint.get("/<card>")
def member(card: str) -> dict[str, Any]:
    return member_with(card).as_dict()


@blueprint.delete("/<card>")
def leave(card: str) -> tuple[str, int]:
    member = member_with(card)
    if member.loans:
        abort(409, "there are books to be brought back")
    member.active = False
    db.session.commit()
    return "", 204


def member_with(card: str) -> LibraryMember:
    member = db.session.execute(db.select(LibraryMember).filter_by(card=card)).scalar_one_or_none()
    return member or abort(404, f"no member has card {card}")
