"""A school for scripted faces: it signs bundles and codes with keys of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qr import EARLY, LATE, Issuer, Scope, make_device_code
from qr.bundle import RevocationList, bundle_content, sign_bundle
from qr.jwks import write_jwks
from qr.rules import Access, GateRules, Hours, OfflinePolicy, TillRules

NAME = "ecard.example.edu.cn"
ALWAYS = Hours(frozenset(range(1, 8)), 0, 24 * 60)


def gate_rules(**changed: Any) -> GateRules:
    """What a gate may do alone: by default, open for every good code."""
    usual: dict[str, Any] = {
        "scope": Scope.GATE,
        "offline": OfflinePolicy.SIGNED,
        "passback": timedelta(),
        "emergency": False,
        "classes": (Access((ALWAYS,)),),
        "default": 0,
    }
    return GateRules(**(usual | changed))


TILL_RULES = TillRules(
    offline=True, per_sale_fen=1500, per_card_count=3, per_card_fen=4500, terminal_fen=50_000
)


class School:
    """Answers of a school to one terminal: whom to believe, and the bundle of the day."""

    def __init__(self, script: Any, terminal: dict[str, Any], **rules: Any) -> None:
        self.root, self.key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.phone = Ed25519PrivateKey.generate()
        self.issuer = Issuer(self.key, key_id=7, issuer=NAME)
        self.terminal, self.sequence = terminal["terminal_id"], 1
        self.rules: dict[str, Any] = rules
        self.issued = 0
        script.on("GET /terminals/current/bundle/keys", lambda **_: (200, self.published))
        script.on(r"GET /terminals/current/bundle(\?after=(?P<after>\d+))?", self.answer)

    @property
    def published(self) -> dict[str, Any]:
        """Whom to believe."""
        return {"issuer": NAME, **write_jwks({1: self.root.public_key()})}

    def answer(self, *, after: str | None, **_: Any) -> tuple[int, Any]:
        """Answer as the server does: the newest bundle, or that there is nothing new."""
        if after == str(self.sequence):
            return 304, None
        return 200, {"sequence": self.sequence, "bundle": self.bundle()}

    def bundle(self, **changed: Any) -> str:
        """Sign a bundle."""
        now = datetime.now(UTC)
        content = bundle_content(
            keys={7: self.key.public_key()},
            revoked=RevocationList.of([], first=0),
            stopped=(),
            early=EARLY,
            late=LATE,
            utc_offset=timedelta(hours=8),
            **self.rules,
        )
        usual: dict[str, Any] = {
            "private_key": self.root,
            "key_id": 1,
            "issuer": NAME,
            "terminal": self.terminal,
            "sequence": self.sequence,
            "issued_at": now,
            "expires_at": now + timedelta(hours=72),
            "fresh_until": now + timedelta(hours=24),
        }
        return sign_bundle(content, **(usual | changed))

    def signed_code(self, scope: Scope, *, alias: bytes = b"zhang1") -> str:
        """Sign a code of this second."""
        return self.issuer.issue(alias, scope=scope, issued_at=datetime.now(UTC))

    def device_code(self, scope: Scope, *, serial: int = 70) -> str:
        """Make the next code of a phone."""
        now = datetime.now(UTC)
        self.issued += 1
        delegation = self.issuer.delegate(
            self.phone.public_key().public_bytes_raw(),
            serial=serial,
            scope=Scope.PAY | Scope.GATE,
            expires_at=now + timedelta(hours=72),
            cap_yuan=15,
            cap_count=3,
        )
        return make_device_code(
            self.phone, delegation, scope=scope, issued_at=now, sequence=self.issued % 16
        )
