"""What a role sees of the console; who may open which page is in `openapi/authorization.csv`."""

import re

from backend.operators.models import Role


class TestRoles:
    def test_a_refusal_is_a_page_with_a_reference(self, staff) -> None:
        answer = staff(Role.ACADEMIC).get("/console/log")
        assert answer.status_code == 403
        assert "你的岗位不能办理此业务" in answer.text
        assert re.search(r"<code>[2-9A-Z]{8}</code>", answer.text)

    def test_the_navigation_offers_what_the_role_may_open(self, staff) -> None:
        page = staff(Role.LOGISTICS).get("/console/").text
        assert 'href="/console/terminals"' in page
        for other in ("search", "top-ups", "reviews", "roster", "log"):
            assert f'href="/console/{other}"' not in page

    def test_who_has_one_room_begins_there(self, staff) -> None:
        person = staff(Role.STUDENT_AFFAIRS, signed_in=False)
        answer = person.client.get(person.sign_in().location)
        assert answer.status_code == 200
        assert "补贴发放" in answer.text
