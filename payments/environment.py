"""The configurations of channels and mini programs, out of a file and the environment.

Every value can be given by an environment variable, which wins over the file.  Its name is the
section's prefix and the field's name in capitals: `CAMPUS_CARD_WECHAT_PAY_API_V3_KEY`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final

from payments.channel import ChannelMisconfigured
from payments.config import (
    AlipayConfig,
    AlipayMiniProgramConfig,
    MessageTemplate,
    WeChatMiniProgramConfig,
    WeChatPayConfig,
)

SECTIONS: Final = {
    "wechat_pay": WeChatPayConfig,
    "alipay": AlipayConfig,
    "wechat_mini_program": WeChatMiniProgramConfig,
    "alipay_mini_program": AlipayMiniProgramConfig,
}
FAMILIES: Final = ("CAMPUS_CARD_WECHAT_", "CAMPUS_CARD_ALIPAY_")
"""No other setting begins like that: a misspelt name is found, not passed over."""

_PEM_FIELDS = frozenset(
    {
        "merchant_private_key",
        "merchant_certificate",
        "app_private_key",
        "alipay_public_key",
        "app_certificate",
        "alipay_certificate",
        "alipay_root_certificate",
    }
)
_BEGIN = "-----BEGIN "
_BARE = re.compile(r"[A-Za-z0-9+/=\s]{300,}")
_MAX_FILE_BYTES = 64 * 1024
_SWITCH = {"true": True, "1": True, "false": False, "0": False}

Section = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Configs:
    """What is configured; None is off."""

    wechat_pay: WeChatPayConfig | None
    alipay: AlipayConfig | None
    wechat_mini_program: WeChatMiniProgramConfig | None
    alipay_mini_program: AlipayMiniProgramConfig | None


def variable(section: str, field: str) -> str:
    """Name the environment variable of a field."""
    return f"CAMPUS_CARD_{section}_{field}".upper()


def read_configs(said: object, environment: Mapping[str, str]) -> Configs:
    """Put the file's sections and the environment's values together.

    A value that holds a key may be the PEM text or the path of a file with it.  The serials of
    `platform_public_keys` are merged into the file's.  So are, for a section with `sandbox`, the
    keys of `alipay_public_key`: the sandbox goes on signing with its own.  An empty variable is
    not set.

    Args:
        said: the file, parsed from JSON.

    Raises:
        ChannelMisconfigured: naming every fault at once, and no value.
    """
    faults: list[str] = []
    sections = _of_file(said, faults)
    for name, given in read_variables(environment, faults).items():
        sections[name] = _merged(sections.get(name, {}), given)
    configs = {name: _build(name, section, faults) for name, section in sections.items()}
    if faults:
        raise ChannelMisconfigured("configuration", faults)
    return Configs(**{name: configs.get(name) for name in SECTIONS})  # type: ignore[arg-type]


def read_variables(environment: Mapping[str, str], faults: list[str]) -> dict[str, Section]:
    """Read the environment's values, by section and field; append what is wrong to `faults`."""
    known = {
        variable(section, field.name): (section, field.name)
        for section, config in SECTIONS.items()
        for field in fields(config)
    }
    sections: dict[str, Section] = {}
    given = {name: text for name, text in environment.items() if name.startswith(FAMILIES)}
    for name, text in sorted(given.items()):
        if name not in known:
            faults.append(f"{name} is not a setting")
        elif text.strip():
            section, field = known[name]
            try:
                value = _value(field, text.strip())
            except ValueError as error:
                faults.append(f"{name} {error}")
            else:
                sections.setdefault(section, {})[field] = value
    return sections


def _of_file(said: object, faults: list[str]) -> dict[str, Section]:
    if not isinstance(said, dict):
        faults.append("the payments file holds no JSON object")
        return {}
    sections: dict[str, Section] = {}
    for name, section in said.items():
        if name not in SECTIONS or not isinstance(section, dict):
            faults.append(f"the payments file's {name} is not a section")
            continue
        allowed = {field.name for field in fields(SECTIONS[name])}
        faults += [f"{name}.{field} is not a setting" for field in section if field not in allowed]
        sections[name] = {
            field: _checked(f"{name}.{field}", field, value, faults)
            for field, value in section.items()
            if field in allowed and value is not None
        }
    return sections


def _checked(name: str, field: str, value: object, faults: list[str]) -> object:
    """Give a value of the file as the config takes it; a fault is named, and the value kept."""
    try:
        if field in _OBJECTS:
            return _OBJECTS[field](value)
        if field == "sandbox":
            if not isinstance(value, bool):
                raise ValueError("is neither true nor false")
            return value
        if not isinstance(value, str):
            raise ValueError("is not a text")
        return pem_text(value) if field in _PEM_FIELDS else value
    except ValueError as error:
        faults.append(f"{name} {error}")
        return value


def _value(field: str, text: str) -> object:
    """Read the text of a variable.

    Raises:
        ValueError: what is wrong with it, without it.
    """
    if field in _PEM_FIELDS:
        return pem_text(text)
    if field == "sandbox":
        if text.lower() not in _SWITCH:
            raise ValueError("is neither true nor false")
        return _SWITCH[text.lower()]
    if field not in _OBJECTS:
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    return _OBJECTS[field](parsed)


def pem_text(text: str) -> str:
    r"""Give the text of a key: itself, or what the file of that path holds.

    A text on one line may write its line breaks as `\n`.

    Raises:
        ValueError: it is no key, and no file that can be read.
    """
    if _BEGIN in text:
        return text.replace("\\n", "\n")
    if _BARE.fullmatch(text):
        return text
    try:
        path = Path(text)
        if path.stat().st_size <= _MAX_FILE_BYTES:
            return path.read_text()
    except (OSError, ValueError):
        pass
    raise ValueError("is neither a key nor a file that can be read")


def _key_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(pem, str) for pem in value.values()):
        raise ValueError("is not an object of serial and key")
    return {serial: pem_text(pem) for serial, pem in value.items()}


def _pair(value: object) -> tuple[float, float]:
    if isinstance(value, list | tuple) and len(value) == 2:  # noqa: PLR2004 - to connect, to answer
        first, second = value
        if all(isinstance(each, int | float) and each > 0 for each in (first, second)):
            return float(first), float(second)
    raise ValueError("is not a pair of seconds, [3, 8]")


def _templates(value: object) -> dict[str, MessageTemplate]:
    try:
        if isinstance(value, dict):
            read = {kind: MessageTemplate(**template) for kind, template in value.items()}
            if all(_whole(template) for template in read.values()):
                return read
    except (AttributeError, TypeError):
        pass
    raise ValueError("is not an object of kind and template")


def _whole(template: MessageTemplate) -> bool:
    words = [template.id, *template.fields, *template.fields.values()]
    return isinstance(template.long_term, bool) and all(isinstance(word, str) for word in words)


# Fields that are no text: in a variable, they are JSON.
_OBJECTS: Final[dict[str, Callable[[object], object]]] = {
    "platform_public_keys": _key_map,
    "timeout_seconds": _pair,
    "templates": _templates,
}


def _merged(of_file: Section, given: Section) -> Section:
    merged = of_file | given
    name = "platform_public_keys"
    if name in of_file and name in given:
        merged[name] = {**of_file[name], **given[name]}
    name = "alipay_public_key"
    if merged.get("sandbox") and name in of_file and name in given:
        merged[name] = f"{given[name].strip()}\n{of_file[name]}"
    return merged


def _build(name: str, section: Section, faults: list[str]) -> object:
    config = SECTIONS[name]
    missing = [
        f"{variable(name, field.name)} is not set"
        for field in fields(config)
        if field.default is MISSING and field.default_factory is MISSING
        if field.name not in section
    ]
    faults += missing
    if missing:
        return None
    try:
        return config(**section)
    except (AttributeError, TypeError, ValueError) as error:
        faults.append(f"{name}: {error}")
        return None
