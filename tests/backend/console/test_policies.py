"""The pages of policies: one proposes in a form, another approves, and it can be taken back."""

import re
from typing import Any

from sqlalchemy import select

from backend.db import transaction
from backend.ids import new_id
from backend.operators.models import Role
from backend.policies.models import PolicyProposal, ProposalState

KEY = "notice.keep_days"


def proposed(id_: Any) -> PolicyProposal | None:
    with transaction() as session:
        return session.scalars(select(PolicyProposal).where(PolicyProposal.id == id_)).one_or_none()


class TestPages:
    def test_show_what_holds_and_one_history(self, staff: Any) -> None:
        person = staff(Role.LOGISTICS)
        page = person.get("/console/policies").text
        assert "搭伙费比例" in page
        assert "10%" in page
        assert "提议修改" in person.get("/console/policies/charge.surcharge_permille").text
        assert "提议修改" not in person.get(f"/console/policies/{KEY}").text
        assert person.get("/console/policies/no.such").status_code == 404

    def test_a_proposal_waits_for_somebody_else_and_can_be_taken_back(self, staff: Any) -> None:
        maker, other = staff(Role.CARD_CENTRE), staff(Role.CARD_CENTRE)
        page = maker.get(f"/console/policies/{KEY}").text
        address = re.search(r'action="(/console/policies/[^"]+/proposals/([^"]+))"', page)
        assert address
        said = {"value": "200", "document_number": "图文〔2026〕9号"}
        for _ in range(2):
            assert maker.post(address[1], said).status_code == 303
        approval = f"/console/policies/proposals/{address[2]}/approval"
        assert approval not in maker.get("/console/policies").text
        assert approval in other.get("/console/policies").text
        assert maker.post(approval).status_code == 409
        back = f"/console/policies/proposals/{address[2]}/withdrawal"
        assert other.post(back, {"reason": "不需要"}).status_code == 303
        proposal = proposed(address[2])
        assert proposal is not None
        assert proposal.state is ProposalState.WITHDRAWN

    def test_bad_values_propose_nothing(self, staff: Any) -> None:
        maker = staff(Role.CARD_CENTRE)
        for value, paper in (("1", "x"), ("true", "x"), ("{", "x"), ("NaN", "x"), ("200", " ")):
            id_ = new_id()
            answer = maker.post(
                f"/console/policies/{KEY}/proposals/{id_}",
                {"value": value, "document_number": paper},
            )
            assert answer.status_code == 422, value
            assert proposed(id_) is None
