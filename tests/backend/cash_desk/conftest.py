"""A cash desk: a cashier with an open shift, a supervisor, and what they do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from factories import make_operator
from flask import Flask
from sqlalchemy import select

from backend import clock
from backend.cash_desk import service, shifts
from backend.cash_desk.models import CashReversal, CashShift, CashTopUp, CloseOutRuling
from backend.db import transaction
from backend.http.parts import Parts
from backend.ids import new_id
from backend.ledger import service as ledger
from backend.ledger.models import AccountKind, Transfer
from backend.money import Fen
from backend.operators.models import Role
from backend.operators.service import OperatorCaller

FLOAT_FEN = 20_000


@dataclass
class Desk:
    """One cashier's desk."""

    cashier: OperatorCaller
    supervisor: OperatorCaller
    shift_id: UUID

    def open(self, now: datetime | None = None, **said: Any) -> tuple[CashShift, bool]:
        """Open the shift."""
        wanted = {"desk": "行政楼 1号窗", "opening_float_fen": Fen(FLOAT_FEN)} | said
        with transaction() as session:
            return shifts.open_shift(
                session,
                shift_id=self.shift_id,
                cashier=self.cashier,
                now=now or clock.now(),
                **wanted,
            )

    def take(
        self,
        holder_id: UUID,
        amount_fen: int = 5_000,
        *,
        top_up_id: UUID | None = None,
        note: str | None = None,
        now: datetime | None = None,
    ) -> tuple[CashTopUp, bool]:
        """Take cash."""
        with transaction() as session:
            return service.take(
                session,
                top_up_id=top_up_id or new_id(),
                shift_id=self.shift_id,
                holder_id=holder_id,
                amount_fen=Fen(amount_fen),
                note=note,
                cashier=self.cashier,
                now=now or clock.now(),
            )

    def reverse(
        self,
        top_up_id: UUID,
        *,
        reversal_id: UUID | None = None,
        reason: str = "误充他人账户",
        by: OperatorCaller | None = None,
        now: datetime | None = None,
    ) -> tuple[CashReversal, bool]:
        """Take a top-up back."""
        with transaction() as session:
            return service.reverse(
                session,
                reversal_id=reversal_id or new_id(),
                top_up_id=top_up_id,
                reason=reason,
                supervisor=by or self.supervisor,
                now=now or clock.now(),
            )

    def count(
        self, counted_fen: int, *, note: str | None = None, now: datetime | None = None, **said: Any
    ) -> tuple[CashShift, bool]:
        """Close out."""
        with transaction() as session:
            return shifts.close_out(
                session,
                shift_id=self.shift_id,
                counted_fen=Fen(counted_fen),
                note=note,
                cashier=self.cashier,
                now=now or clock.now(),
                **({"counts": None} | said),
            )

    def rule(
        self,
        ruling: CloseOutRuling,
        reason: str = "已核对录像",
        by: OperatorCaller | None = None,
    ) -> tuple[CashShift, bool]:
        """Rule on a count."""
        with transaction() as session:
            return shifts.rule(
                session,
                shift_id=self.shift_id,
                ruling=ruling,
                reason=reason,
                supervisor=by or self.supervisor,
                now=clock.now(),
            )

    def posted(self) -> dict[str, int]:
        """Return what the shift's end has posted, by account; what came in is positive."""
        with transaction() as session:
            names = {
                ledger.school_account(session, kind): kind.value
                for kind in (AccountKind.CASH, AccountKind.BANK, AccountKind.CASH_DIFFERENCE)
            }
            sums = dict.fromkeys(names.values(), 0)
            found = session.scalars(select(Transfer).where(Transfer.subject_id == self.shift_id))
            for transfer in found:
                sums[names[transfer.debit_account_id]] += transfer.amount_fen
                sums[names[transfer.credit_account_id]] -= transfer.amount_fen
            return sums


@pytest.fixture
def desks(app: Flask, parts: Parts) -> Callable[..., Desk]:
    """Make desks, with a shift open unless told otherwise."""

    def make(*, role: Role = Role.LOGISTICS, opened: bool = True) -> Desk:
        made = Desk(make_operator(parts, role), make_operator(parts, Role.FINANCE), new_id())
        if opened:
            made.open()
        return made

    return make


@pytest.fixture
def desk(desks: Callable[..., Desk]) -> Desk:
    """One desk with an open shift."""
    return desks()
