"""Money without network (脱机收款): on or off, within which caps, and the most that can be lost.

Only to be looked at: it is decided by a paper, and put in force on the command line.
"""

from dataclasses import replace

from flask import Blueprint, render_template

from backend import clock
from backend.charges.offline import exposure
from backend.db import transaction
from backend.policies import service as policies

blueprint = Blueprint("offline-money", __name__, url_prefix="/offline-money")


@blueprint.get("")
def show() -> str:
    """Show what stands at risk."""
    now = clock.now()
    with transaction() as session:
        stands = exposure(session, now=now)
        decided = policies.policies_at(session, now).ids["offline.money"]
        return render_template(
            "console/offline_money.html",
            stands=stands,
            switched_on=replace(stands, on=True),
            document_number=policies.document_of(session, decided),
        )
