"""A scanner that decides alone (脱机终端): gate or till, with the network cut.

Everything that it must not forget is in its `ScannerStore` before it answers.  It never approves
what the server would surely have refused at the time of its bundle.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from qr.bundle import Bundle, BundleForeign, as_bundle, is_for, read_bundle
from qr.codes import CardCode, CodeError, CodeMalformed, DeviceCode, Scope, SignedCode
from qr.epoch import rfc3339, to_epoch
from qr.rules import OfflinePolicy, Reason
from qr.short import is_short_code
from qr.store import Deciding, Mark, ScannerStore
from qr.verifier import EARLY, Verifier

LONGEST_CODE = 430
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a scanner decided, and told only after it was stored."""

    id: UUID
    accepted: bool
    reason: str | None
    """Why not; or, where a gate opened in spite of it, what stood against it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    sequence: int | None = None
    """Its place among all that this scanner will tell the server, without gaps; None for a text
    that was no card code, which is not told."""


class Scanner:
    """One scanner with its store.  One process decides with one store."""

    def __init__(
        self,
        store: ScannerStore,
        *,
        roots: Mapping[int, Ed25519PublicKey],
        issuer: str,
        terminal: str | None = None,
    ) -> None:
        """Hold a store and whom to believe.

        Args:
            store: what survives a power cut.
            roots: the root keys given at enrolment; only they can sign a bundle.
            issuer: the school.
            terminal: this terminal's id; None believes any bundle of the school.

        Raises:
            BundleForeign: the store is another terminal's or another school's.
            BundleError: the store holds a bundle that this version cannot read.
        """
        self._store = store
        self._roots = dict(roots)
        self._issuer = issuer
        self._terminal = terminal
        self._bundle = self._stored_bundle()

    def _stored_bundle(self) -> Bundle | None:
        claims = self._store.claims()
        if claims is None:
            return None
        if not is_for(claims, issuer=self._issuer, terminal=self._terminal):
            raise BundleForeign
        return as_bundle(claims)

    @property
    def bundle(self) -> Bundle | None:
        """The bundle in use."""
        return self._bundle

    def learn(self, token: str) -> Bundle:
        """Take a newer bundle into use, whole or as a delta.

        Raises:
            BundleError: and its kinds; the bundle in use stays.
        """
        claims = read_bundle(
            token,
            roots=self._roots,
            issuer=self._issuer,
            terminal=self._terminal,
            after=self._store.claims(),
        )
        bundle = as_bundle(claims)
        self._store.keep_claims(claims, trusted_at=bundle.issued_at)
        self._bundle = bundle
        return bundle

    def learn_time(self, server_time: datetime, *, now: datetime) -> None:
        """Set the scanner's clock right by the server's, as heard at its own `now`.

        The caller knows that it is the server: this alone can take back what was trusted before.
        """
        self._store.keep_clock(offset=server_time - now, trusted_at=server_time)

    def decide_passage(
        self,
        text: str,
        *,
        direction: str,
        now: datetime,
        emergency: bool = False,
        passage_id: UUID | None = None,
    ) -> Decision:
        """Decide whether whoever shows this code may pass (脱机通行).

        The reasons, in order of precedence: `clock-behind`, `bundle-missing`, `bundle-expired`,
        `offline-closed`, `code-online-only`, the code's own (`CodeError.code`), `code-revoked`,
        `code-stale`, `code-spent`, `bundle-stale`, `access-not-allowed`, `access-outside-hours`,
        `passback`.
        In an emergency everybody may leave, and a gate whose policy is open opens for everybody:
        the reason then tells what stood against it.

        Args:
            text: what the reader read, and nothing around it.
            direction: `in` or `out`.
            now: by this device's clock, aware; `learn_time` sets it right.
            emergency: the building's own signal, beside the one declared in the bundle.
            passage_id: the id of an attempt that the server did not answer, so that both are one.

        Returns:
            The decision, on disk before it is told.  A code that was genuine is used up by it.
        """
        with self._deciding() as deciding:
            moment = now.astimezone(UTC) + deciding.clock_offset
            code, reason = self._judge_passage(text, direction, moment, deciding)
            rules = self._bundle.gate if self._bundle else None
            leaving = direction == "out" and (emergency or bool(rules and rules.emergency))
            opens = rules is not None and rules.offline is OfflinePolicy.OPEN
            accepted = reason is None or leaving or opens
            if code is not None and accepted:
                deciding.note_passage(code.bearer, direction=direction, at=moment)
            decision = Decision(passage_id or new_id(moment), accepted, reason)
            word = "allow" if accepted else "deny"
            return self._told(
                deciding, text, decision, moment, {"direction": direction, "decision": word}
            )

    def decide_charge(
        self,
        text: str,
        *,
        amount_fen: int,
        now: datetime,
        note: str | None = None,
        charge_id: UUID | None = None,
    ) -> Decision:
        """Decide whether an amount may be taken from whoever shows this code (脱机消费).

        The reasons, in order of precedence: `clock-behind`, `bundle-missing`, `bundle-expired`,
        `bundle-stale`, `offline-not-allowed`, `code-online-only`, the code's own, `code-revoked`,
        `code-stale`, `code-spent`, `offline-cap-exceeded`.

        Args:
            text: what the reader read, and nothing around it.
            amount_fen: the price, at least 1.
            now: by this device's clock, aware; `learn_time` sets it right.
            note: what the cashier wrote.
            charge_id: the id of an attempt that the server did not answer, so that both are one.

        Raises:
            ValueError: `amount_fen` is not positive.

        Returns:
            The decision, on disk before it is told.  A code that was genuine is used up by it.
        """
        if amount_fen < 1:
            raise ValueError("a charge is for at least one fen")
        with self._deciding() as deciding:
            moment = now.astimezone(UTC) + deciding.clock_offset
            facts: Mapping[str, Any] = {}
            code, reason = self._judge_charge(text, moment, deciding)
            if code is not None and reason is None and self._bundle and self._bundle.till:
                day = (moment + self._bundle.utc_offset).date()
                card = deciding.spent(day, code.bearer)
                over = self._bundle.till.refusal(
                    code, amount_fen, card=card, terminal=deciding.spent(day, None)
                )
                if over is None:
                    deciding.note_charge(day, code.bearer, amount_fen)
                else:
                    reason, facts = over
            decision = Decision(charge_id or new_id(moment), reason is None, reason, facts)
            word = "approved" if decision.accepted else "declined"
            said = {"amount_fen": amount_fen, "state": word} | ({"note": note} if note else {})
            return self._told(deciding, text, decision, moment, said)

    def _judge_passage(
        self, text: str, direction: str, moment: datetime, deciding: Deciding
    ) -> tuple[CardCode | None, str | None]:
        bundle = self._bundle
        if unready := self._unready(moment, deciding):
            return None, unready
        if bundle is None or bundle.gate is None:
            return None, Reason.BUNDLE_MISSING
        if bundle.gate.offline is OfflinePolicy.CLOSED:
            return None, Reason.OFFLINE_CLOSED
        code, reason = self._judge_code(text, bundle, bundle.gate.scope, moment, deciding)
        if code is None or reason is not None:
            return code, reason
        reason = bundle.gate.refusal(
            code, local=moment + bundle.utc_offset, stale=moment >= bundle.fresh_until
        )
        if reason is None and bundle.gate.passback:
            last = deciding.last_passage(code.bearer)
            if last and last.direction == direction and moment < last.at + bundle.gate.passback:
                reason = Reason.PASSBACK
        return code, reason

    def _judge_charge(
        self, text: str, moment: datetime, deciding: Deciding
    ) -> tuple[CardCode | None, str | None]:
        bundle = self._bundle
        if unready := self._unready(moment, deciding):
            return None, unready
        if bundle is None or bundle.till is None:
            return None, Reason.BUNDLE_MISSING
        if moment >= bundle.fresh_until:
            return None, Reason.BUNDLE_STALE
        if not bundle.till.offline:
            return None, Reason.OFFLINE_NOT_ALLOWED
        return self._judge_code(text, bundle, Scope.PAY, moment, deciding)

    @contextmanager
    def _deciding(self) -> Iterator[Deciding]:
        """Yield one decision by the newest bundle: another process may have fetched one."""
        with self._store.deciding() as deciding:
            if self._store.changed_elsewhere():
                self._bundle = self._stored_bundle()
            yield deciding

    def _unready(self, moment: datetime, deciding: Deciding) -> Reason | None:
        """Return what keeps this scanner from deciding anything."""
        if deciding.trusted_at is not None and moment < deciding.trusted_at - EARLY:
            return Reason.CLOCK_BEHIND
        if self._bundle is None:
            return Reason.BUNDLE_MISSING
        if moment >= self._bundle.expires_at:
            return Reason.BUNDLE_EXPIRED
        return None

    def _judge_code(
        self, text: str, bundle: Bundle, need: Scope, moment: datetime, deciding: Deciding
    ) -> tuple[CardCode | None, str | None]:
        """Return the code if it is genuine, and why it is refused all the same; use it up."""
        if is_short_code(text):
            return None, Reason.CODE_ONLINE_ONLY
        verifier = Verifier(bundle.keys, issuer=self._issuer, early=bundle.early, late=bundle.late)
        try:
            code = verifier.verify(text, need=need, now=moment)
        except CodeError as error:
            return None, error.code
        if isinstance(code, SignedCode):
            # So late it surely is, but for the minutes by which codes are made ahead.  A phone's
            # own word counts for nothing: with a gate of the same wrong clock it would lock it.
            deciding.trust(moment)
        fresh = deciding.claim(code.bearer, need, Mark.of(code))
        if isinstance(code, DeviceCode):
            if code.delegation.serial in bundle.revoked:
                return code, Reason.CODE_REVOKED
        elif code.alias in bundle.stopped:
            return code, Reason.CODE_STALE
        return code, None if fresh else Reason.CODE_SPENT

    def _told(
        self,
        deciding: Deciding,
        text: str,
        decision: Decision,
        moment: datetime,
        said: Mapping[str, Any],
    ) -> Decision:
        """Put a decision in the queue for the server, unless what was shown is no card code.

        Where it opened all the same, the passage is told, but not the text: it may be anything.
        """
        digits = len(text) <= LONGEST_CODE and text.isascii() and text.isdigit()
        if not decision.accepted and (not digits or decision.reason == CodeMalformed.code):
            return decision
        sequence = deciding.enqueue(
            {
                "id": str(decision.id),
                "code": text if digits else "",
                "decided_at": rfc3339(moment),
                "reason": decision.reason,
                "bundle_sequence": self._bundle.sequence if self._bundle else None,
                **said,
            }
        )
        return replace(decision, sequence=sequence)


def new_id(moment: datetime) -> UUID:
    """Return a fresh UUIDv7 (RFC 9562 §5.7): the server knows a decision by it for ever."""
    moment = max(moment, _EARLIEST)  # a clock that lost its battery shows no later time
    milliseconds = to_epoch(moment) * 1000 + moment.microsecond // 1000
    raw = bytearray(milliseconds.to_bytes(6, "big") + secrets.token_bytes(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return UUID(bytes=bytes(raw))
