"""An application for temporary cards through its life: plain functions over the services."""

import secrets
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from factories import make_document, make_operator, make_person

from backend import clock
from backend.applications import ending, opening, service
from backend.applications.models import (
    Applicant,
    Application,
    Approval,
    ApprovalKind,
    EarlyLeaving,
    Extension,
)
from backend.applications.service import Paper, Person, Wanted
from backend.clock import business_date
from backend.db import transaction
from backend.holders.models import Category, DocumentKind
from backend.http.parts import Parts
from backend.ids import new_id
from backend.operators.models import Role


def today() -> date:
    """Return the accounting day."""
    return business_date(clock.now())


def person(name: str = "马师傅", document: str | None = "") -> Person:
    """Return somebody with a document of their own, or with None without one."""
    number = make_document() if document == "" else document
    return Person(name, "设备维护公司", DocumentKind.RESIDENT_ID if number else None, number)


def paper(kind: ApprovalKind, **said: Any) -> Paper:
    """Return an approval."""
    return Paper(
        **({"kind": kind, "approver": "陈院长", "document": "附件1", "decided_on": today()} | said)
    )


class Case:
    """One application through its life."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.id = parts, new_id()
        self.operator = make_operator(parts, Role.CARD_CENTRE)
        self.sponsor = make_person(parts, category=Category.STAFF, unit="后勤保卫处")
        self.wanted = Wanted(
            oa_number=f"OA-{secrets.token_hex(5).upper()}",
            sponsor_unit="后勤保卫处",
            sponsor_number=self.sponsor.number,
            purpose="设备维护",
            category=Category.TEMPORARY_OUTSIDER,
            permissions=["identify", "pay"],
            pays_surcharge=True,
            valid_from=today(),
            valid_until=today() + timedelta(days=60),
            people=[person()],
        )
        self.receipt = f"R-{secrets.token_hex(5).upper()}"
        self.opening_id = new_id()

    def make(self, wanted: Wanted | None = None) -> tuple[Application, bool]:
        self.wanted = wanted or self.wanted
        with transaction() as session:
            return service.make(
                session, application_id=self.id, wanted=self.wanted, sealer=self.parts.sealer,
                operator=self.operator, now=clock.now(),
            )  # fmt: skip

    def approve(self, said: Paper, approval_id: UUID | None = None) -> tuple[Approval, bool]:
        with transaction() as session:
            return service.approve(
                session, approval_id=approval_id or new_id(), application_id=self.id, paper=said,
                operator=self.operator, now=clock.now(),
            )  # fmt: skip

    def approved(self, wanted: Wanted | None = None) -> "Case":
        self.make(wanted)
        for kind in ApprovalKind:
            self.approve(paper(kind))
        return self

    def open(self, **said: Any) -> bool:
        return opening.open_cards(
            **(
                {"application_id": self.id, "opening_id": self.opening_id,
                 "receipt_number": self.receipt,
                 "operator": self.operator, "now": clock.now()} | said
            )
        )  # fmt: skip

    def opened(self, wanted: Wanted | None = None) -> "Case":
        self.approved(wanted).open()
        return self

    def withdraw(self) -> tuple[Application, bool]:
        with transaction() as session:
            return service.withdraw(
                session, application_id=self.id, operator=self.operator, now=clock.now()
            )

    def extend(
        self, valid_until: date, *, extension_id: UUID | None = None, **said: Any
    ) -> tuple[Extension, bool]:
        with transaction() as session:
            return ending.extend(
                session, extension_id=extension_id or new_id(), application_id=self.id,
                valid_until=valid_until, sealer=self.parts.sealer, operator=self.operator,
                now=clock.now(),
                **({"oa_number": f"OA-{secrets.token_hex(5)}",
                    "papers": [paper(kind) for kind in ApprovalKind]} | said),
            )  # fmt: skip

    def leave(
        self, holder_id: UUID, last_on: date, leaving_id: UUID | None = None
    ) -> tuple[EarlyLeaving, bool]:
        with transaction() as session:
            return ending.leave_early(
                session, leaving_id=leaving_id or new_id(), application_id=self.id,
                holder_id=holder_id, last_on=last_on, reason="合同提前结束",
                who=self.operator, now=clock.now(),
            )  # fmt: skip

    def people(self) -> list[Applicant]:
        with transaction() as session:
            return list(service.people_of(session, self.id))

    @property
    def holder_id(self) -> UUID:
        """The first person of the list, as a holder."""
        found = self.people()[0].holder_id
        assert found is not None
        return found

    def stands(self) -> Application:
        with transaction() as session:
            return service.find(session, application_id=self.id)


def morning(day: date) -> datetime:
    """Return nine o'clock of a day, by the school's clock."""
    return clock.start_of_day(day) + timedelta(hours=9)
