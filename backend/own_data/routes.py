"""HTTP for what is kept about the caller."""

from typing import Any

from flask_smorest import Blueprint
from sqlalchemy import text

from backend import clock
from backend.db import transaction
from backend.holders import login
from backend.holders.login import HolderCaller, NotBound
from backend.http.auth import Unauthenticated, caller, guard
from backend.http.parts import parts
from backend.http.problems import raises
from backend.http.rates import TooManyRequests
from backend.operation_log import service as operation_log
from backend.own_data import service
from backend.own_data.schemas import OwnDataReply

MOST_AN_HOUR = 6
HOUR_SECONDS = 3600

blueprint = guard(
    Blueprint("own_data", __name__, url_prefix="/me", description="What is kept (个人信息)"),
    "holder",
    login.authenticate,
)


@blueprint.route("/data", methods=["GET"])
@raises(blueprint, Unauthenticated, NotBound, TooManyRequests)
@blueprint.response(200, OwnDataReply)
def read_own_data() -> dict[str, Any]:
    """Return everything that is kept about the caller (个人信息副本), and who of the staff looked.

    `kept` has the rows of each table, as they are stored: money in fen, times in UTC.  Not among
    them are hashes, sealed values and keys, which say nothing, and the ids of the staff.  That it
    was taken is in the operation log.

    Source: PIPL (个人信息保护法) 45.
    """
    who: HolderCaller = caller()
    holder_id, now = who.holder_id, clock.now()
    parts().rates.count(f"own-data:{holder_id}", most=MOST_AN_HOUR, seconds=HOUR_SECONDS)
    with transaction() as session:
        operation_log.record(
            session, actor=who.actor, action="holder.take_data", holder_id=holder_id, now=now
        )
    with transaction() as session:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        return {
            "holder_id": holder_id,
            "taken_at": now,
            "looks": service.looks(session, holder_id=holder_id),
            "kept": service.read(session, holder_id=holder_id),
        }
