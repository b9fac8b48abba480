"""The keys of Alipay: the app's own, and those with which Alipay signs; bare, or as certificates.

python-alipay-sdk's own certificate mode cuts the root chain at blank lines, which leaves the
serial number (证书序列号) of a file with other line ends wrong or empty.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from payments import _keys
from payments._keys import PlatformKey
from payments.channel import ChannelMisconfigured
from payments.config import AlipayConfig, AlipayMiniProgramConfig

_RSA_SIGNATURES = "1.2.840.113549.1.1."
_CERTIFICATES = ("app_certificate", "alipay_certificate", "alipay_root_certificate")
_SHORT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.COUNTRY_NAME: "C",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
}


@dataclass(frozen=True, slots=True)
class AlipayKeys:
    """Keys that were read.

    Attributes:
        certified: in certificate mode, what every request tells: app_cert_sn, alipay_root_cert_sn.
        alipay_cert_sn: in certificate mode, of Alipay's certificate; else None.
        platform: the keys with which Alipay signs; more than one while they change over.
    """

    private: RSAPrivateKey
    certified: dict[str, str]
    alipay_cert_sn: str | None
    app_certificate: x509.Certificate | None
    platform: tuple[PlatformKey, ...]

    def named(self, cert_sn: str | None) -> tuple[PlatformKey, ...]:
        """Give the keys that can have signed what names this certificate, or none.

        Without certificates of our own we know none, and what a message names says nothing.
        """
        if not cert_sn or self.alipay_cert_sn is None:
            return self.platform
        if cert_sn != self.alipay_cert_sn:
            return ()
        return tuple(key for key in self.platform if key.certificate is not None)


def read_keys(config: AlipayConfig | AlipayMiniProgramConfig) -> AlipayKeys:
    """Read every key.

    Raises:
        ChannelMisconfigured: some cannot be used, or do not fit together.
    """
    reader = _keys.Reader()
    private = reader.read("app_private_key", config.app_private_key, _keys.private_key)
    app = reader.read("app_certificate", config.app_certificate, _keys.certificate)
    alipay = reader.read("alipay_certificate", config.alipay_certificate, _keys.certificate)
    root_sn = reader.read("alipay_root_certificate", config.alipay_root_certificate, root_cert_sn)
    platform = [PlatformKey(_keys.public_key_of(alipay), alipay)] if alipay is not None else []
    for pem in _keys.blocks(config.alipay_public_key) if config.alipay_public_key else []:
        key = reader.read("alipay_public_key", pem, _keys.public_key)
        platform += [PlatformKey(key)] if key is not None else []
    faults = reader.faults
    faults += _keys.pair_faults("app_certificate", app, private)
    faults += _missing(config)
    if private is not None and private.public_key() in [key.public for key in platform]:
        faults.append("alipay_public_key is the app's own key, not Alipay's")
    if private is None or faults:
        raise ChannelMisconfigured("alipay", faults)
    certified = {}
    if app is not None and root_sn is not None:
        certified = {"app_cert_sn": cert_sn(app), "alipay_root_cert_sn": root_sn}
    return AlipayKeys(
        private=private,
        certified=certified,
        alipay_cert_sn=None if alipay is None else cert_sn(alipay),
        app_certificate=app,
        platform=tuple(platform),
    )


def cert_sn(certificate: x509.Certificate) -> str:
    """Give the number by which Alipay names a certificate.

    It is the MD5 of the issuer, last part first, and of the serial number in decimal digits.
    """
    issuer = ",".join(
        f"{_SHORT_NAMES.get(part.oid, part.oid.dotted_string)}={part.value!s}"
        for part in reversed(list(certificate.issuer))
    )
    told = f"{issuer}{certificate.serial_number}"
    return hashlib.md5(told.encode(), usedforsecurity=False).hexdigest()


def root_cert_sn(pem: str) -> str:
    """Give the number of a chain of root certificates; those not signed with RSA do not count.

    Raises:
        ValueError: there is none that counts.
    """
    numbers = "_".join(_rsa_numbers(pem))
    if not numbers:
        raise ValueError("holds no certificate signed with RSA")
    return numbers


def _rsa_numbers(pem: str) -> Iterator[str]:
    for certificate in _keys.certificates(pem):
        if certificate.signature_algorithm_oid.dotted_string.startswith(_RSA_SIGNATURES):
            yield cert_sn(certificate)


def _missing(config: AlipayConfig | AlipayMiniProgramConfig) -> list[str]:
    absent = [name for name in _CERTIFICATES if getattr(config, name) is None]
    if len(absent) == len(_CERTIFICATES):
        absent = [] if config.alipay_public_key else ["alipay_public_key"]
    return [f"{name} is missing" for name in absent]
