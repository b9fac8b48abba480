"""The room in which logistics says who pays the meal surcharge."""

from typing import Any

from factories import make_holder, make_till, present
from sqlalchemy import update

from backend import clock
from backend.charges import service as charges
from backend.db import transaction
from backend.holders.models import Category, Holder
from backend.ids import new_id
from backend.money import Fen
from backend.operators.models import Role

ROOM = "/console/surcharge-flags"


class TestRoom:
    def test_leads_from_the_alarm_to_the_decision(self, staff: Any, parts: Any) -> None:
        guest = make_holder(parts, category=Category.TEMPORARY_TRAINEE, balance_fen=5_000)
        with transaction() as session:
            session.execute(update(Holder).where(Holder.id == guest.id).values(pays_surcharge=None))
            charges.charge(
                session,
                charge_id=new_id(),
                terminal=make_till(is_canteen=True).caller,
                code=present(guest.id),
                code_text="",
                amount_fen=Fen(1_000),
                note=None,
                now=clock.now(),
            )
        person, page = staff(Role.LOGISTICS), f"{ROOM}/{guest.id}"
        assert f'href="{ROOM}"' in person.get("/console/").text
        assert f'href="{page}"' in person.get(ROOM).text
        assert "未定" in person.get(page).text
        for said in ({"pays": "yes"}, {"pays": "maybe", "document_number": "x"},
                     {"pays": "yes", "document_number": "x" * 65}):  # fmt: skip
            assert person.post(page, said).status_code == 422
        assert staff(Role.AUDITOR).post(page, {"pays": "no"}).status_code == 403
        answer = person.post(page, {"pays": "no", "document_number": "后勤〔2026〕7号"})
        assert answer.status_code == 303
        assert f'href="{page}"' not in person.get(ROOM).text
        assert "不收" in person.get(page).text
