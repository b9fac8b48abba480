"""Signed requests (签名请求): what a terminal with a device key sends instead of a token.

A strict subset of RFC 9421 (HTTP Message Signatures) with RFC 9530 (Content-Digest):

    Content-Digest: sha-256=:<base64 of the SHA-256 of the body>:
    Signature-Input: sig1=("@method" "@path" "@query" "content-digest");created=1788235950;\
keyid="<key name>";alg="ed25519"
    Signature: sig1=:<base64 of the 64 bytes>:

What is signed is the signature base of section 2.5, lines joined by one line feed:

    "@method": PUT
    "@path": /api/v1/charges/0199c1f0-7f3e-7d21-a5b6-c7d8e9f00112
    "@query": ?
    "content-digest": sha-256=:…:
    "@signature-params": ("@method" "@path" "@query" "content-digest");created=1788235950;…

Of what the RFC leaves open, this is what holds here; anything else is refused:

- one signature, with the label `sig1` (section 4.1);
- exactly these components in this order (2.1, 2.2); "content-digest" only where there is a body,
  and then it has to be there, with sha-256 alone (RFC 9530, section 2);
- the parameters `created`, `keyid` and `alg`, each once, in any order (2.3), and no spaces between;
- "@path" (2.2.6) with percent-encoding in its shortest form, as WSGI hands paths over decoded; no
  path of a terminal needs any.  "@query" (2.2.7) as it was sent, "?" where there is none;
- `created` within two minutes of the server's clock.

Replay: no nonce is kept.  Within the window a copied request may come again, so whatever a terminal
may call has to be harmless the second time.  What moves money or decides is a PUT under an id that
the caller made, and gets the first answer; `roll` names the new key, and its copy is signed by one
that is dead; a copied heartbeat tells what was true two minutes ago, until the next.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from werkzeug.wrappers import Request

from backend.clock import rfc3339
from backend.errors import DomainError, Kind

WINDOW = timedelta(minutes=2)
MOST_HEADER_LENGTH = 512

WITHOUT_BODY = '("@method" "@path" "@query")'
WITH_BODY = '("@method" "@path" "@query" "content-digest")'
LABEL = "sig1="
PARAMETERS = {
    "created": re.compile("[0-9]{1,12}"),
    "keyid": re.compile('"[A-Za-z0-9_-]{43}"'),
    "alg": re.compile('"ed25519"'),
}
VALUE = re.compile("sig1=:([A-Za-z0-9+/]{86}==):")
DIGEST = re.compile("sha-256=:([A-Za-z0-9+/]{43}=):")
PATH_CHARACTERS = "/:@!$&'()*+,;="
"""What stands in a path unencoded besides letters, digits and `-._~` (RFC 3986, section 3.3)."""


class SignatureInvalid(DomainError, code="signature-invalid", kind=Kind.UNAUTHENTICATED):
    """Signed otherwise than agreed, or by no key that a terminal in service holds."""


class SignatureStale(DomainError, code="signature-stale", kind=Kind.UNAUTHENTICATED):
    """Signed more than two minutes from now: set the clock, sign again.  Fact: `server_time`."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that reads as agreed.  It proves nothing before `check` and `check_body`."""

    key_id: str
    created: int
    """Epoch seconds, by the clock of whoever signed."""
    base: bytes = field(repr=False)
    value: bytes = field(repr=False)
    digest: bytes | None = field(repr=False)
    """SHA-256 of the body as it was announced; None where no body was."""

    def check(self, public_key: bytes, *, now: datetime) -> None:
        """Refuse what the holder of a key did not sign, or signed at another time.

        Raises:
            SignatureInvalid: another key signed, or something covered was changed.
            SignatureStale: genuine, but `created` is more than two minutes from now.
        """
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.value, self.base)
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid from error
        if abs(int(now.timestamp()) - self.created) > WINDOW.total_seconds():
            raise SignatureStale(server_time=rfc3339(now))

    def check_body(self, body: bytes) -> None:
        """Refuse another body than the one that was announced; last, as only now it is read.

        Raises:
            SignatureInvalid: the digest is of another body, or misses, or there is no body.
        """
        if self.digest != (hashlib.sha256(body).digest() if body else None):
            raise SignatureInvalid


def is_signed(request: Request) -> bool:
    """Tell whether a request claims to be signed."""
    return "Signature" in request.headers or "Signature-Input" in request.headers


def read_signature(request: Request) -> Signature:
    """Read the signature of a request; the body is not touched.

    Raises:
        SignatureInvalid: it does not read as agreed.
    """
    covered, parameters, verbatim = _read_input(_header(request, "Signature-Input"))
    value = VALUE.fullmatch(_header(request, "Signature"))
    if value is None:
        raise SignatureInvalid
    path, query = request.environ["PATH_INFO"], request.environ.get("QUERY_STRING", "")
    lines = [
        f'"@method": {request.method}',
        f'"@path": {quote(path.encode("latin-1"), safe=PATH_CHARACTERS) or "/"}',
        f'"@query": ?{query}',
    ]
    digest = None
    if covered == WITH_BODY:
        announced = _header(request, "Content-Digest")
        found = DIGEST.fullmatch(announced)
        if found is None:
            raise SignatureInvalid
        digest = base64.b64decode(found[1])
        lines.append(f'"content-digest": {announced}')
    lines.append(f'"@signature-params": {verbatim}')
    base = "\n".join(lines)
    if not base.isascii():  # section 2.5
        raise SignatureInvalid
    return Signature(
        key_id=parameters["keyid"].strip('"'),
        created=int(parameters["created"]),
        base=base.encode(),
        value=base64.b64decode(value[1]),
        digest=digest,
    )


def _header(request: Request, name: str) -> str:
    """Return a header; two of the same name come joined, and do not read as agreed."""
    said = request.headers.get(name, "")
    if len(said) > MOST_HEADER_LENGTH:
        raise SignatureInvalid
    return said


def _read_input(said: str) -> tuple[str, dict[str, str], str]:
    """Return covered components, parameters, and both as they were written."""
    verbatim = said.removeprefix(LABEL)
    covered, *rest = verbatim.split(";")
    parameters = dict(part.partition("=")[::2] for part in rest)
    if (
        verbatim == said
        or covered not in (WITH_BODY, WITHOUT_BODY)
        or len(rest) != len(PARAMETERS)
        or parameters.keys() != PARAMETERS.keys()
        or not all(PARAMETERS[name].fullmatch(value) for name, value in parameters.items())
    ):
        raise SignatureInvalid
    return covered, parameters, verbatim


def key_name(public_key: bytes) -> str:
    """Return the name of a key: its thumbprint (RFC 7638), which its holder can compute too.

    >>> key_name(base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="))
    'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'
    """
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public_key)}
    return _base64url(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
