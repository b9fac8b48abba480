"""Today at one glance: charges, top-ups, terminals that somebody should look after."""

from flask import Blueprint, render_template

from backend import clock
from backend.cases import service as cases
from backend.charges import figures, surcharge_flags
from backend.clock import business_date, start_of_day
from backend.closings import deadlines
from backend.console import access
from backend.db import transaction
from backend.notices import messages
from backend.operation_log import seals
from backend.terminals import heartbeats
from backend.topups import figures as top_up_figures

DAYS = 14

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def show() -> str:
    """Show what happened today and what waits for somebody."""
    now = clock.now()
    today = business_date(now)
    with transaction() as session:
        return render_template(
            "console/overview.html",
            today=today,
            now=now,
            charges=figures.figures_of_day(session, day=today),
            days=figures.totals_by_day(session, days=DAYS, now=now),
            top_ups=top_up_figures.figures_by_state(session, since=start_of_day(today)),
            unresolved=top_up_figures.unresolved(session, now=now),
            messages=messages.figures_by_state(session, since=start_of_day(today)),
            alarms=heartbeats.list_alarms(session, now=now),
            surcharge_unknown=surcharge_flags.count_unknown(session),
            beyond_deadline=deadlines.open_beyond_deadline(session, now=now),
            log_lag=seals.lag(session, now=now),
            reviews=cases.count_open(session, role=access.operator().role)
            if access.may_open("reviews")
            else None,
        )
