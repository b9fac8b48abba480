"""Two people at one proposal of policies, at the same moment."""

from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from factories import make_operator

from backend import clock
from backend.db import transaction
from backend.errors import DomainError
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role
from backend.policies.models import ProposalState
from backend.rulebook import proposals
from backend.rulebook.proposals import Asked

KEY = "notice.charge_from_fen"


@pytest.mark.parametrize("other", ["approve", "withdraw"])
def test_an_approval_and_something_else(parts: Parts, other: str) -> None:
    """One approves; at the same moment another approves or withdraws: one row, or none."""
    maker, first, second = (make_operator(parts, Role.CARD_CENTRE) for _ in range(3))
    for turn in range(8):
        now, id_ = clock.now(), new_id()
        asked = Asked({KEY: 4_000 + turn}, None, "test", "x", now + timedelta(days=700 + turn))
        with transaction() as session:
            proposals.propose(session, proposal_id=id_, asked=asked, maker=maker, now=now)
        barrier, answers = Barrier(2), list[Any]()

        def approve(who: Any, id_: Any = id_, now: Any = now, at: Any = barrier) -> None:
            at.wait()
            try:
                with transaction() as session:
                    proposals.approve(session, proposal_id=id_, checker=who, now=now)
                answers.append("approved")  # noqa: B023 - joined below
            except DomainError as error:
                answers.append(error.code)  # noqa: B023

        def withdraw(id_: Any = id_, now: Any = now, at: Any = barrier) -> None:
            at.wait()
            with transaction() as session:
                proposals.withdraw(session, proposal_id=id_, reason="x", who=maker, now=now)
            answers.append("withdrawn")  # noqa: B023

        threads = [Thread(target=approve, args=(first,))]
        threads.append(Thread(target=approve, args=(second,)) if other == "approve"
                       else Thread(target=withdraw))  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with transaction() as session:
            proposal = proposals.find(session, proposal_id=id_)
            rows = proposals.rows_of(session, proposal_id=id_)
            if other == "approve":
                assert sorted(answers) == ["approved", "proposal-decided"]
                assert len(rows) == 1
                proposals.withdraw(session, proposal_id=id_, reason="x", who=maker, now=now)
            else:
                assert "withdrawn" in answers
                assert proposal.state is ProposalState.WITHDRAWN
                assert rows == []
