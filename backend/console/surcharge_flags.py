"""Who pays the meal surcharge (搭伙费对象): whom nobody decided about, and deciding."""

from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend import clock
from backend.charges import surcharge_flags
from backend.charges.surcharge_flag_schemas import MOST_DOCUMENT_NUMBER
from backend.charges.surcharge_flags import MAY_DECIDE
from backend.console import access, forms
from backend.db import transaction
from backend.holders.rules import SURCHARGED
from backend.operation_log.refusals import logged

ANSWERS = {"yes": True, "no": False}

blueprint = Blueprint("surcharge-flags", __name__, url_prefix="/surcharge-flags")


@blueprint.get("")
def show() -> str:
    """List holders who ate without the surcharge because nobody has said whether it is due."""
    with transaction() as session:
        return render_template(
            "console/surcharge_flags.html", unknown=surcharge_flags.list_unknown(session)
        )


@blueprint.get("/<uuid:holder_id>")
def look(holder_id: UUID) -> str:
    """Show one holder, and ask."""
    with transaction() as session:
        holder, meals = surcharge_flags.find(session, holder_id=holder_id)
        return render_template(
            "console/surcharge_flag.html",
            holder=holder,
            meals=meals,
            may_decide=access.operator().role in MAY_DECIDE and holder.category in SURCHARGED,
            most_document_number=MOST_DOCUMENT_NUMBER,
        )


@blueprint.post("/<uuid:holder_id>")
@logged("surcharge.flag", subject="holder_id")
def decide(holder_id: UUID) -> AnyResponse:
    """Say whether the holder's meals cost the surcharge."""
    who, pays = access.operator_in(*MAY_DECIDE), ANSWERS.get(request.form.get("pays", ""))
    document = forms.line("document_number", most=MOST_DOCUMENT_NUMBER)
    if pays is None or document is None:
        return Response(look(holder_id), 422)
    with transaction() as session:
        surcharge_flags.decide(
            session,
            holder_id=holder_id,
            pays=pays,
            document_number=document,
            operator=who,
            now=clock.now(),
        )
    return redirect(url_for("console.surcharge-flags.look", holder_id=holder_id), 303)
