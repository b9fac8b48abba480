"""One signed call to Alipay's gateway, over python-alipay-sdk.

The SDK is bent where it fails: it would send everything, ID numbers included, in the address of a
GET; it loses count of braces inside texts of the answer; it dates requests in the process's zone.
"""

import binascii
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import requests

from payments import _keys
from payments._alipay_keys import AlipayKeys, read_keys
from payments._gate import Gate
from payments._sdk import AliPay
from payments._zone import SHANGHAI
from payments.channel import ChannelUnknown, NoticeForged
from payments.config import AlipayConfig, AlipayMiniProgramConfig

_DONE = "10000"
_BUSINESS_FAILED = "40004"
# Alipay's own trouble, or a payment still under way: what happened is open.
_UNSURE_CODES = {"10003", "20000"}
_UNSURE_SUB_CODES = {"ACQ.SYSTEM_ERROR", "aop.ACQ.SYSTEM_ERROR", "isp.unknow-error"}
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class AlipayRefused(Exception):
    """Alipay surely said no.  `code` is its sub_code, or its code when there is none."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class AlipayGateway:
    """Alipay's gateway for one app."""

    def __init__(self, config: AlipayConfig | AlipayMiniProgramConfig) -> None:
        """Read the keys; call nobody.

        Raises:
            ChannelMisconfigured: a key is unusable.
        """
        self._gate = Gate()
        self._keys = read_keys(config)
        self._sdk = _PostingAliPay(config, self._keys)

    def call(
        self, method: str, biz_content: Mapping[str, Any] | None = None, **parameters: str
    ) -> dict[str, Any]:
        """Call a method and return its verified answer.

        Args:
            biz_content: the method's own parameters; amounts as yuan text.
            parameters: top-level ones, beside the common ones.

        Raises:
            AlipayRefused: surely no.
            ChannelUnknown: no answer, trouble at Alipay, or an answer that Alipay did not sign.
        """
        try:
            return self._gate.call(
                lambda: self._sdk.ask(method, dict(biz_content or {}), parameters)
            )
        except requests.Timeout:
            raise ChannelUnknown("timeout") from None
        except requests.RequestException:
            raise ChannelUnknown("unreachable") from None
        except UnicodeEncodeError:  # half a surrogate pair, out of somebody's JSON
            raise AlipayRefused("encoding") from None

    def verify(self, form: Mapping[str, str], now: datetime) -> None:
        """Check that Alipay signed this notice, with the one algorithm we use (RSA2).

        Raises:
            NoticeForged: `signature`, `serial`, `expired`.
        """
        told = {name: form[name] for name in sorted(form) if name not in {"sign", "sign_type"}}
        if form.get("sign_type") != "RSA2":
            raise NoticeForged("signature")
        message = "&".join(f"{name}={value}" for name, value in told.items())
        verify(self._keys, message, form.get("sign"), form.get("alipay_cert_sn"), now)

    def faults(self, now: datetime) -> list[str]:
        """Sign with the SDK and verify; name what does not work, and what is out of date."""
        message = secrets.token_hex(16)
        signature = binascii.a2b_base64(self._sdk._sign(message))  # type: ignore[no-untyped-call]  # noqa: SLF001
        own = _keys.PlatformKey(self._keys.private.public_key())
        able = own.signed(message.encode(), signature)
        return [
            *([] if able else ["app_private_key cannot sign"]),
            *_keys.date_faults(
                [
                    ("app_certificate", self._keys.app_certificate),
                    *(("alipay_certificate", key.certificate) for key in self._keys.platform),
                ],
                now,
            ),
        ]


class _PostingAliPay(AliPay):
    def __init__(self, config: AlipayConfig | AlipayMiniProgramConfig, keys: AlipayKeys) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            config.app_id,
            app_private_key_string=_keys.pkcs8_pem(keys.private),
            alipay_public_key_string=_keys.spki_pem(keys.platform[0].public),
        )
        self._gateway = config.base_url
        self._timeout_seconds = config.timeout_seconds
        self._keys = keys

    def ask(
        self, method: str, biz_content: dict[str, Any], parameters: dict[str, str]
    ) -> dict[str, Any]:
        timestamp = datetime.now(UTC).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
        body = self.build_body(  # type: ignore[no-untyped-call]
            method, biz_content, timestamp=timestamp, **self._keys.certified, **parameters
        )
        to_connect, to_answer = self._timeout_seconds
        response = requests.post(
            f"{self._gateway}?charset=utf-8",
            data=self.sign_data(body).encode(),  # type: ignore[no-untyped-call]
            headers={"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"},
            timeout=(to_connect, to_answer),
            allow_redirects=False,
        )
        if response.status_code != requests.codes.ok:
            raise ChannelUnknown(f"http-{response.status_code}")
        return self._read(response.content, method.replace(".", "_") + "_response")

    def _read(self, raw: bytes, response_type: str) -> dict[str, Any]:
        try:
            text = raw.decode()
            envelope = json.loads(text)
        except (ValueError, RecursionError):
            raise ChannelUnknown("content") from None
        if not isinstance(envelope, dict):
            raise ChannelUnknown("content")
        name = response_type if response_type in envelope else "error_response"
        answer = envelope.get(name)
        if not isinstance(answer, dict):
            raise ChannelUnknown("content")
        signature, cert_sn = envelope.get("sign"), envelope.get("alipay_cert_sn")
        signed = isinstance(signature, str) and _is_base64(signature)
        if signed:
            try:
                verify(self._keys, _value_of(text, name), signature, cert_sn, datetime.now(UTC))
            except NoticeForged as forged:
                raise ChannelUnknown(f"answer-{forged.reason}") from None
        return _done(answer, name=name, signed=signed)


def verify(
    keys: AlipayKeys, message: str, signature: object, cert_sn: str | None, now: datetime
) -> None:
    """Check a signature of Alipay, over a notice or over the answer inside its envelope.

    Args:
        cert_sn: names the certificate of the key, in certificate mode.

    Raises:
        NoticeForged: `serial`, `expired`, `signature`.
    """
    known = keys.named(cert_sn)
    if not known:
        raise NoticeForged("serial")
    if not isinstance(signature, str) or not _is_base64(signature):
        raise NoticeForged("signature")
    signed, encoded = binascii.a2b_base64(signature), message.encode(errors="surrogatepass")
    by = [key for key in known if key.signed(encoded, signed)]
    if not by:
        raise NoticeForged("signature")
    if not any(key.in_date(now) for key in by):
        raise NoticeForged("expired")


def _done(answer: dict[str, Any], *, name: str, signed: bool) -> dict[str, Any]:
    """Return the answer if it says yes.

    Alipay does not sign a refusal of a malformed request, so such a no is believed unsigned; a
    yes, or a no about the business itself, is not.
    """
    # alipay.system.oauth.token says yes by leaving the code out.
    code = answer.get("code", _DONE if name != "error_response" else "")
    sub_code = answer.get("sub_code")
    word = sub_code if isinstance(sub_code, str) else code
    if not isinstance(word, str) or not _CODE.fullmatch(word):
        word = "unreadable"
    if code in {_DONE, _BUSINESS_FAILED} and not signed:
        raise ChannelUnknown("answer-unsigned")
    if code == _DONE:
        return answer
    if code in _UNSURE_CODES or word in _UNSURE_SUB_CODES or word == "unreadable":
        raise ChannelUnknown(word)
    raise AlipayRefused(word)


def _value_of(text: str, name: str) -> str:
    """Cut the value of a member out of the JSON text, character by character as it was signed."""
    match = re.search(rf'"{re.escape(name)}"\s*:\s*', text)
    if match is None:
        return ""
    _, end = json.JSONDecoder().raw_decode(text, match.end())
    return text[match.end() : end]


def _is_base64(text: str) -> bool:
    try:
        return bool(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        return False
