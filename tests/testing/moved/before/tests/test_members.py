from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import NotFound

from library.extensions import db
from library.members import member_with
from library.models import LibraryMember, Loan


def test_there_are_no_members(client: FlaskClient) -> None:
    assert client.get("/members").json == []


def test_members_are_listed_by_card(client: FlaskClient, member: LibraryMember) -> None:
    client.post("/members", json={"card": "A0", "name": "Alan"})
    assert [each["card"] for each in client.get("/members").json] == ["A0", "A1"]


def test_somebody_joins(client: FlaskClient) -> None:
    assert client.post("/members", json={"card": "B2", "name": "Bob"}).status_code == 201
    assert LibraryMember.query.filter_by(card="B2").one().name == "Bob"


def test_a_card_is_given_once(client: FlaskClient, member: LibraryMember) -> None:
    assert client.post("/members", json={"card": "A1", "name": "Bob"}).status_code == 409
    assert member.name == "Ada"


def test_a_member_is_shown(client: FlaskClient, loan: Loan) -> None:
    assert client.get("/members/A1").json == {"card": "A1", "name": "Ada", "active": True, "loans": 1}


def test_a_card_that_nobody_has(client: FlaskClient) -> None:
    answer = client.get("/members/Z9")
    assert answer.status_code == 404
    assert answer.json == {"error": "no member has card Z9"}


def test_a_member_leaves(client: FlaskClient, member: LibraryMember) -> None:
    assert client.delete("/members/A1").status_code == 204
    assert not member.active


def test_nobody_leaves_with_books(client: FlaskClient, loan: Loan) -> None:
    assert client.delete("/members/A1").status_code == 409
    assert db.session.get(LibraryMember, loan.member_id).active


def test_a_member_is_found_without_a_request(member: LibraryMember) -> None:
    assert member_with("A1") is member
    with pytest.raises(NotFound):
        member_with("Z9")
