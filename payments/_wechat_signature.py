"""WeChat Pay's signature over a notice or an answer, checked in full before anything is read.

wechatpayv3 alone accepts a notice of any age, and lets an unknown serial make it call WeChat.
Source: WeChat Pay, interface rules, signature verification.
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from payments._keys import PlatformKey
from payments.channel import MAX_NOTICE_BYTES, NoticeForged

FRESH = timedelta(minutes=5)
SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"

_PROBE = "WECHATPAY/SIGNTEST/"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def verify(
    headers: Mapping[str, str],
    body: bytes,
    *,
    public_keys: Mapping[str, PlatformKey],
    now: datetime,
) -> None:
    """Check that WeChat signed this body within the last five minutes.

    Args:
        headers: in any case of letters.
        public_keys: serial → key; no other serial is known.

    Raises:
        NoticeForged: `size`, `headers`, `timestamp`, `serial`, `expired` (the certificate is out
            of date), `signtest`, `encoding`, `signature`, in this order.
    """
    if len(body) > MAX_NOTICE_BYTES:
        raise NoticeForged("size")
    given = {name.lower(): value.strip() for name, value in headers.items()}
    timestamp, nonce, signature, serial = (
        given.get(f"wechatpay-{name}", "") for name in ("timestamp", "nonce", "signature", "serial")
    )
    if not (timestamp and nonce and signature and serial):
        raise NoticeForged("headers")
    if given.get("wechatpay-signature-type", SIGNATURE_TYPE) != SIGNATURE_TYPE:
        raise NoticeForged("headers")
    if not _fresh(timestamp, now):
        raise NoticeForged("timestamp")
    if serial not in public_keys:
        raise NoticeForged("serial")
    if not public_keys[serial].in_date(now):
        raise NoticeForged("expired")
    if signature.startswith(_PROBE):
        raise NoticeForged("signtest")
    try:
        signature_bytes = base64.b64decode(signature, validate=True)
        signed = f"{timestamp}\n{nonce}\n{body.decode()}\n".encode()
    except ValueError:
        raise NoticeForged("encoding") from None
    if not public_keys[serial].signed(signed, signature_bytes):
        raise NoticeForged("signature")


def _fresh(timestamp: str, now: datetime) -> bool:
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    return abs(now.timestamp() - int(timestamp)) <= FRESH.total_seconds()
