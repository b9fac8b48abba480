"""Builds the application: the one place where things are wired."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flask import Flask, Response, request
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend import db, stage
from backend.applications import routes as applications
from backend.applications import sponsor_routes as sponsors
from backend.bundles import routes as bundles
from backend.cards import change_routes as categories
from backend.cards import code_routes as codes
from backend.cards import conflict_routes as conflicts
from backend.cards import counter_routes as counter
from backend.cards import delegation_routes as delegations
from backend.cards import found_routes as found_cards
from backend.cards import kiosk_routes as kiosk
from backend.cards import loss_routes as loss
from backend.cards import replacement_routes as replacements
from backend.cards import roster_routes as roster
from backend.cards import routes as cards
from backend.cases import lending_routes as lending
from backend.cases import routes as cases
from backend.cases import write_off_routes as write_offs
from backend.cash_desk import routes as cash_desk
from backend.charges import rerating_routes as surcharge
from backend.charges import routes as charges
from backend.charges import surcharge_flag_routes as surcharge_flags
from backend.closings import departure_routes as departures
from backend.closings import graduate_routes as graduates
from backend.closings import reopening_routes as reopenings
from backend.closings import retirement_routes as retirements
from backend.closings import routes as closings
from backend.closings import screening_routes as screenings
from backend.console import routes as console
from backend.console.access import PATH as CONSOLE
from backend.gates import access_routes as gate_access
from backend.gates import routes as gates
from backend.holders import inbox_routes as inbox
from backend.holders import people_routes as people
from backend.holders import routes as holders
from backend.http import document, json_body, operations
from backend.http.parts import Parts
from backend.http.problems import PROBLEM_JSON, ProblemApi
from backend.http.rates import Rates
from backend.inspections import routes as inspections
from backend.issues import routes as issues
from backend.notices.rules import WORDINGS, faults_of
from backend.operation_log import refusals
from backend.operators import change_routes as operator_changes
from backend.operators import routes as operators
from backend.own_data import routes as own_data
from backend.reconciliation import routes as bills
from backend.refunds import batch_routes as payouts
from backend.refunds import routes as refunds
from backend.rulebook import routes as rulebook
from backend.sealing import SealedCache, Sealer
from backend.settings import Settings
from backend.subsidies import routes as subsidies
from backend.terminals import routes as terminals
from backend.topups import refunding_routes as refunding
from backend.topups import routes as topups
from backend.topups import staff_routes as staff_topups
from backend.uploads import routes as uploads
from payments import (
    AlipayChannel,
    AlipayMiniProgram,
    Channel,
    ChannelMisconfigured,
    Messenger,
    Platform,
    WeChatMiniProgram,
    WeChatPayChannel,
    read_configs,
)
from qr import KeyRing

API = "/api/v1"
BLUEPRINTS = (
    (holders.public, API),
    (holders.own_session, API),
    (cards.blueprint, API),
    (codes.blueprint, API),
    (loss.blueprint, API),
    (delegations.blueprint, API),
    (replacements.own, API),
    (holders.blueprint, API),
    (inbox.blueprint, API),
    (own_data.blueprint, API),
    (topups.blueprint, API),
    (refunding.blueprint, API),
    (gates.own, API),
    (terminals.public, API),
    (terminals.blueprint, API),
    (bundles.blueprint, API),
    (charges.blueprint, API),
    (gates.blueprint, API),
    (kiosk.blueprint, API),
    (operators.public, API),
    (operators.blueprint, API),
    (operator_changes.public, API),
    (operator_changes.blueprint, API),
    (roster.staff, API),
    (conflicts.blueprint, API),
    (counter.staff, API),
    (replacements.staff, API),
    (found_cards.staff, API),
    (people.blueprint, API),
    (categories.blueprint, API),
    (terminals.staff, API),
    (gate_access.gates, API),
    (gate_access.declared, API),
    (uploads.staff, API),
    (cases.blueprint, API),
    (staff_topups.staff, API),
    (lending.staff, API),
    (write_offs.staff, API),
    (refunds.staff, API),
    (payouts.staff, API),
    (closings.own, API),
    (closings.staff, API),
    (departures.staff, API),
    (retirements.staff, API),
    (reopenings.staff, API),
    (graduates.staff, API),
    (screenings.staff, API),
    (cash_desk.blueprint, API),
    (bills.blueprint, API),
    (issues.blueprint, API),
    (applications.blueprint, API),
    (sponsors.blueprint, API),
    (inspections.blueprint, API),
    (rulebook.public, API),
    (rulebook.staff, API),
    (surcharge.staff, API),
    (surcharge_flags.staff, API),
    (subsidies.staff, API),
    (topups.callbacks, ""),
)


def create_app(settings: Settings) -> Flask:
    """Return the application of one process."""
    app = Flask(__name__, static_folder="http/static", static_url_path="/static")
    app.config.update(
        API_TITLE="Campus Card",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    db.connect(settings.database_url)
    app.extensions["campus_card"] = wire(settings)
    json_body.install(app)
    operations.install(app)
    refusals.install(app)
    stage.install(app, settings)
    console.install(app)
    app.register_blueprint(rulebook.pages)
    api = ProblemApi(app)
    for blueprint, prefix in BLUEPRINTS:
        api.register_blueprint(blueprint, url_prefix=prefix + (blueprint.url_prefix or ""))
    document.install(app, api)
    app.after_request(harden)
    return app


def wire(settings: Settings) -> Parts:
    """Return the parts that services need, ready to work."""
    redis: Redis = Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=0.2,
        socket_connect_timeout=0.2,
        retry=Retry(NoBackoff(), 0),
    )
    channels, platforms, messengers = read_payments(settings, redis)
    return Parts(
        settings=settings,
        sealer=Sealer(settings.root_key),
        redis=redis,
        rates=Rates(redis),
        code_keys=KeyRing.load(settings.code_keys),
        channels=channels,
        platforms=platforms,
        messengers=messengers,
    )


def read_payments(
    settings: Settings, redis: Redis
) -> tuple[Mapping[str, Channel], Mapping[str, Platform], Mapping[str, Messenger]]:
    """Return what is configured in the payments file and the environment.

    A part that neither names is off.

    Raises:
        ChannelMisconfigured: keys or ids that cannot work: better now than at the first payment.
            Names every fault at once.
    """
    said = json.loads(settings.payments.read_text())
    configs = read_configs(said, settings.payments_environment)
    channels: dict[str, Channel] = {}
    platforms: dict[str, Platform] = {}
    messengers: dict[str, Messenger] = {}
    faults: list[str] = []
    with _collected(faults):
        if configs.wechat_pay:
            channels["wechat"] = WeChatPayChannel(configs.wechat_pay)
            channels["wechat"].self_test()
    with _collected(faults):
        if configs.alipay:
            channels["alipay"] = AlipayChannel(configs.alipay)
            channels["alipay"].self_test()
    with _collected(faults):
        if configs.alipay_mini_program:
            platforms["alipay"] = AlipayMiniProgram(configs.alipay_mini_program)
    if configs.wechat_mini_program:
        cache = SealedCache(redis, Sealer(settings.root_key))
        wechat = WeChatMiniProgram(configs.wechat_mini_program, cache)
        platforms["wechat"] = wechat
        if wechat.templates:
            messengers["wechat"] = wechat
            with _collected(faults):
                check_templates(wechat)
    if faults:
        raise ChannelMisconfigured("payments", faults)
    return channels, platforms, messengers


def check_templates(messenger: Messenger) -> None:
    """Refuse templates that no notice could fill.

    Raises:
        ChannelMisconfigured: naming every fault.
    """
    faults = [
        f"templates.{kind}: no kind of notice that is sent"
        for kind in messenger.templates
        if kind not in WORDINGS
    ]
    for kind, template in messenger.templates.items():
        faults += [f"templates.{kind}.fields.{fault}" for fault in faults_of(template.fields)]
    if faults:
        raise ChannelMisconfigured(messenger.name, faults)


@contextmanager
def _collected(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except ChannelMisconfigured as wrong:
        faults += [f"{wrong.channel}.{fault}" for fault in wrong.faults]


def harden(answer: Response) -> Response:
    """Set the headers that keep browsers careful."""
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Referrer-Policy", "no-referrer")
    if request.path.startswith(API):
        answer.headers.setdefault("Cache-Control", "no-store")
    if answer.mimetype == PROBLEM_JSON or request.path.startswith((API, CONSOLE)):
        answer.vary.add("Accept-Language")
    return answer
