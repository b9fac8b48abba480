"""What a role sees of the console; who may open which page is in `openapi/authorization.csv`."""

import re

from backend.operators.models import Role

NOBODY_ID = "00000000-0000-4000-8000-000000000000"
ALL = frozenset(Role)
CENTRE = frozenset({Role.CARD_CENTRE})
FINANCE = frozenset({Role.FINANCE})
MONEY = CENTRE | {Role.FINANCE, Role.AUDITOR}
DEVICES = CENTRE | {Role.LOGISTICS, Role.AUDITOR}
FEEDS = CENTRE | {Role.ACADEMIC, Role.PERSONNEL}
READS_ALL = CENTRE | {Role.AUDITOR}
CASH = MONEY | {Role.LOGISTICS}
CASHIERS = frozenset({Role.LOGISTICS, Role.FINANCE})
SUPERVISORS = CENTRE | {Role.FINANCE}
RULES = CENTRE | {Role.LOGISTICS}
ALLOWED = {
    "GET /console/": MONEY | DEVICES,
    "GET /console/search": MONEY,
    "POST /console/search": MONEY,
    "GET /console/holders/<uuid:holder_id>": MONEY,
    "POST /console/holders/<uuid:holder_id>/reveal": READS_ALL,
    "GET /console/cards/<uuid:card_id>": CENTRE,
    "GET /console/cards/<uuid:card_id>/operation": CENTRE,
    "POST /console/cards/<uuid:card_id>/operation": CENTRE,
    "GET /console/cards/<uuid:card_id>/replacement": CENTRE,
    "POST /console/cards/<uuid:card_id>/replacement": CENTRE,
    "GET /console/found-cards": DEVICES,
    "POST /console/found-cards/<uuid:found_id>": RULES,
    "GET /console/found-cards/<uuid:found_id>/hand-back": CENTRE,
    "POST /console/found-cards/<uuid:found_id>/hand-back": CENTRE,
    "GET /console/top-ups": MONEY,
    "GET /console/bills": MONEY,
    "GET /console/bills/<uuid:bill_id>": MONEY,
    "POST /console/bills/fetch": frozenset({Role.FINANCE}),
    "POST /console/bills/upload": frozenset({Role.FINANCE}),
    "GET /console/closings": MONEY,
    "GET /console/closings/<uuid:closing_id>": MONEY,
    "POST /console/closings/<uuid:closing_id>": CENTRE,
    "POST /console/closings/<uuid:closing_id>/waivers": CENTRE,
    "POST /console/closings/<uuid:closing_id>/cancellation": CENTRE,
    "GET /console/refunds": MONEY,
    "GET /console/refunds/<uuid:refund_id>": MONEY,
    "POST /console/refunds/<uuid:refund_id>/query": FINANCE,
    "POST /console/refunds/<uuid:refund_id>/return": FINANCE,
    "POST /console/refunds/<uuid:refund_id>/payouts/<uuid:payout_id>": FINANCE,
    "POST /console/refunds/<uuid:refund_id>/payouts/<uuid:payout_id>/decision": FINANCE,
    "GET /console/cash-desk": CASH,
    "POST /console/cash-desk/holder": CASHIERS,
    "POST /console/cash-desk/confirm": CASHIERS,
    "POST /console/cash-desk/top-ups": CASHIERS,
    "GET /console/cash-desk/top-ups/<uuid:top_up_id>": CASH,
    "POST /console/cash-desk/top-ups/<uuid:top_up_id>/reversal": SUPERVISORS,
    "GET /console/cash-desk/shifts": CASH,
    "POST /console/cash-desk/shifts": CASHIERS,
    "GET /console/cash-desk/shifts/<uuid:shift_id>": CASH,
    "GET /console/cash-desk/shifts/<uuid:shift_id>/close-out": CASHIERS,
    "POST /console/cash-desk/shifts/<uuid:shift_id>/close-out": CASHIERS,
    "POST /console/cash-desk/shifts/<uuid:shift_id>/ruling": SUPERVISORS,
    "GET /console/reviews": MONEY,
    "GET /console/reviews/<uuid:review_id>": MONEY,
    "POST /console/reviews/<uuid:review_id>/resolution": CENTRE | {Role.FINANCE},
    "GET /console/terminals": DEVICES,
    "POST /console/terminals/<uuid:terminal_id>/enrolment-token": CENTRE,
    "GET /console/terminals/<uuid:terminal_id>/revoke": CENTRE,
    "POST /console/terminals/<uuid:terminal_id>/revoke": CENTRE,
    "GET /console/gates": DEVICES,
    "GET /console/gates/<uuid:terminal_id>": DEVICES,
    "POST /console/gates/<uuid:terminal_id>": RULES,
    "POST /console/gates/<uuid:terminal_id>/dry-run": DEVICES,
    "POST /console/gates/emergencies": RULES,
    "POST /console/gates/emergencies/<uuid:emergency_id>/end": RULES,
    "GET /console/offline-money": MONEY,
    "GET /console/roster": FEEDS,
    "POST /console/roster/check": FEEDS,
    "POST /console/roster/import": FEEDS,
    "GET /console/log": READS_ALL,
    "POST /console/log": READS_ALL,
    "POST /console/log/verify": READS_ALL,
    "POST /console/log/export": READS_ALL,
    "GET /console/sign-in": ALL,
    "POST /console/sign-in": ALL,
    "POST /console/sign-out": ALL,
    "POST /console/language": ALL,
    "GET /console/static/<path:filename>": ALL,
    **{f"{method} /console/<path:_>": ALL for method in ("GET", "POST", "PUT", "PATCH", "DELETE")},
}
OPEN = {
    "GET /console/sign-in",
    "POST /console/sign-in",
    "POST /console/language",
    "GET /console/static/<path:filename>",
}


def pages(app) -> list[str]:
    """Return every method and address of the console."""
    return [
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/console")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def open_page(person, page: str) -> int:
    """Open an address as this person and return the status."""
    method, _, rule = page.partition(" ")
    path = re.sub(r"<uuid:\w+>", NOBODY_ID, re.sub(r"<path:\w+>", "nowhere", rule))
    said = {"form_token": person.form_token()} if method != "GET" else None
    return int(person.client.open(path, method=method, data=said).status_code)


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

    def test_a_role_without_pages_is_told_so(self, staff) -> None:
        person = staff(Role.STUDENT_AFFAIRS, signed_in=False)
        answer = person.client.get(person.sign_in().location)
        assert answer.status_code == 403
        assert "你的岗位不能办理此业务" in answer.text
