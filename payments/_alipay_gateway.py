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
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from payments import _keys
from payments._gate import Gate
from payments._sdk import AliPay
from payments._zone import SHANGHAI
from payments.channel import ChannelMisconfigured, ChannelUnknown

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

    def __init__(
        self,
        *,
        app_id: str,
        app_private_key: str,
        alipay_public_key: str,
        base_url: str,
        timeout_seconds: tuple[float, float],
    ) -> None:
        """Read the keys; call nobody.

        Raises:
            ChannelMisconfigured: a key is unusable.
        """
        self._gate = Gate()
        self._private_key = _check_keys(app_private_key, alipay_public_key)
        self._sdk = _PostingAliPay(
            app_id, app_private_key, alipay_public_key, base_url, timeout_seconds
        )

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

    def signed(self, form: Mapping[str, str]) -> bool:
        """Tell whether Alipay signed this notice, with the one algorithm we use (RSA2)."""
        parameters = dict(form)
        signature = parameters.pop("sign", "")
        if parameters.get("sign_type") != "RSA2" or not _is_base64(signature):
            return False
        try:
            verified: bool = self._sdk.verify(parameters, signature)  # type: ignore[no-untyped-call]
        except (TypeError, ValueError):
            return False
        return verified

    def can_sign(self) -> bool:
        """Sign with the SDK and verify with the key's public half."""
        message = secrets.token_hex(16)
        signature = binascii.a2b_base64(self._sdk._sign(message))  # type: ignore[no-untyped-call]  # noqa: SLF001
        return _keys.signs(self._private_key, signature, message.encode())


class _PostingAliPay(AliPay):
    def __init__(
        self,
        app_id: str,
        app_private_key: str,
        alipay_public_key: str,
        base_url: str,
        timeout_seconds: tuple[float, float],
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            app_id,
            app_private_key_string=app_private_key,
            alipay_public_key_string=alipay_public_key,
        )
        self._gateway = base_url
        self._timeout_seconds = timeout_seconds

    def ask(
        self, method: str, biz_content: dict[str, Any], parameters: dict[str, str]
    ) -> dict[str, Any]:
        timestamp = datetime.now(UTC).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
        body = self.build_body(  # type: ignore[no-untyped-call]
            method, biz_content, timestamp=timestamp, **parameters
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
        signature = envelope.get("sign")
        signed = isinstance(signature, str) and _is_base64(signature)
        if signed and not self._verify(_value_of(text, name), signature):  # type: ignore[no-untyped-call]
            raise ChannelUnknown("answer-signature")
        return _done(answer, name=name, signed=signed)


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


def _check_keys(app_private_key: str, alipay_public_key: str) -> RSAPrivateKey:
    faults: list[str] = []
    private = public = None
    try:
        private = _keys.private_key(app_private_key)
    except ValueError as error:
        faults.append(f"app_private_key {error}")
    try:
        public = _keys.public_key(alipay_public_key)
    except ValueError as error:
        faults.append(f"alipay_public_key {error}")
    if private is not None and private.public_key() == public:
        faults.append("alipay_public_key is the app's own key, not Alipay's")
    if private is None or faults:
        raise ChannelMisconfigured("alipay", faults)
    return private
