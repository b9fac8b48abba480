"""One holder (持卡人): cards, purses, statement, passages, top-ups and what was done.

Every look is in the operation log before anything is shown.  Names and card numbers are masked
until somebody says why they need them.
"""

import re
from datetime import date
from typing import Any
from uuid import UUID

from flask import Blueprint, abort, render_template, request
from sqlalchemy.orm import Session

from backend import clock
from backend.applications import service as applications
from backend.arrears import service as arrears
from backend.cards import service as cards
from backend.clock import business_date
from backend.closings import departures, graduate_list, retirements, screenings
from backend.closings import service as closings
from backend.closings.retirement_routes import MAY_SWITCH
from backend.closings.rules import MAY_FILE
from backend.console import access
from backend.db import transaction
from backend.gates import service as gates
from backend.holders import viewing
from backend.holders.limits import limits_of
from backend.holders.models import Category, Holder
from backend.ledger import service as ledger
from backend.operation_log import service as operation_log
from backend.operation_log.refusals import logged
from backend.operation_log.service import LogFilter
from backend.operators import service as operators
from backend.operators.models import Role
from backend.refunds import payout_list
from backend.subsidies import service as subsidies
from backend.topups import figures

SEE_ALL = (Role.CARD_CENTRE, Role.AUDITOR)
"""Passages and the operation log; finance sees what is money."""
REASONS = ("present", "called", "reconciliation", "case")
MOST_LINES = 100
MOST_ROWS = 20
MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")

blueprint = Blueprint("holders", __name__, url_prefix="/holders/<uuid:holder_id>")


@blueprint.get("")
def show(holder_id: UUID) -> str:
    """Show a holder, masked."""
    with transaction() as session:
        holder = viewing.view(
            session, holder_id=holder_id, actor=access.operator().actor, now=clock.now()
        )
    return _page(holder, revealed=False)


@blueprint.post("/reveal")
@logged("holder.reveal", holder="holder_id")
def reveal(holder_id: UUID) -> str:
    """Show a holder with full name and card number, for a reason that is kept."""
    who = access.operator_in(*viewing.SEE_IN_FULL)
    reason = request.form.get("reason", "")
    if reason not in REASONS:
        abort(422)
    with transaction() as session:
        holder = viewing.reveal(
            session, holder_id=holder_id, reason=reason, caller=who, now=clock.now()
        )
    return _page(holder, revealed=True)


def _page(holder: Holder, *, revealed: bool) -> str:
    now = clock.now()
    month = request.args.get("month", "")
    first = date.fromisoformat(
        f"{month if MONTH.fullmatch(month) else format(business_date(now), '%Y-%m')}-01"
    )
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    sees_all = access.operator().role in SEE_ALL
    with transaction() as session:
        in_fen, out_fen = ledger.totals(session, holder_id=holder.id, first=first, after=after)
        return render_template(
            "console/holder.html",
            holder=holder,
            revealed=revealed,
            reasons=REASONS,
            sees_all=sees_all,
            binding=viewing.live_binding(session, holder_id=holder.id),
            cards=cards.list_cards(session, holder_id=holder.id),
            purses=ledger.purses_of(session, holder_id=holder.id),
            application_id=applications.find_by_holder(session, holder_id=holder.id),
            arrears_fen=arrears.open_fen(session, holder_id=holder.id),
            limits=limits_of(holder, now=now),
            month=f"{first:%Y-%m}",
            this_month=f"{business_date(now):%Y-%m}",
            lines=ledger.statement(
                session,
                holder_id=holder.id,
                first=first,
                after=after,
                before=None,
                limit=MOST_LINES,
            ),
            most_lines=MOST_LINES,
            in_fen=in_fen,
            out_fen=out_fen,
            top_ups=figures.list_top_ups(
                session, holder_id=holder.id, before=None, limit=MOST_ROWS
            ),
            subsidies=subsidies.items_of_holder(session, holder_id=holder.id, limit=MOST_ROWS),
            **_leaving(session, holder),
            **(_movements(session, holder) if sees_all else {}),
        )


def _leaving(session: Session, holder: Holder) -> dict[str, Any]:
    """Return what is under way to end an account: each leads to its room."""
    role, departure = access.operator().role, departures.scheduled_of(session, holder_id=holder.id)
    return {
        "departure": departure,
        "retirement": retirements.of_holder(session, holder_id=holder.id),
        "graduations": graduate_list.batches_of(session, holder_id=holder.id),
        "closing": closings.live_closing(session, holder_id=holder.id),
        "payouts": payout_list.open_lines_of(session, holder_id=holder.id),
        "findings": screenings.open_items_of(session, holder_id=holder.id),
        "may_file": role in MAY_FILE and departure is None,
        "may_switch": role in MAY_SWITCH and holder.category is Category.STAFF,
    }


def _movements(session: Session, holder: Holder) -> dict[str, Any]:
    entries = operation_log.list_entries(
        session, wanted=LogFilter(holder_id=holder.id), before=None, limit=MOST_ROWS
    )
    return {
        "passages": gates.list_passages(session, holder_id=holder.id, before=None, limit=MOST_ROWS),
        "entries": entries,
        "actors": operators.names_in_log(session, entries),
    }
