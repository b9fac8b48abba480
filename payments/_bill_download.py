"""Fetching a bill's file from where the platform said that it lies."""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

import requests

from payments._zone import SHANGHAI
from payments.bill import MAX_BILL_BYTES
from payments.channel import BillNotReady, ChannelUnknown

DEADLINE_SECONDS: Final = 60
_CHUNK_BYTES = 256 * 1024


def require_finished(day: date, *, now: datetime) -> None:
    """Refuse a day that is not over in Shanghai.

    Raises:
        BillNotReady: it is not.
    """
    if now.astimezone(SHANGHAI).date() <= day:
        raise BillNotReady


def since_midnight_after(day: date, *, now: datetime) -> timedelta:
    """Tell how long the day has been over in Shanghai."""
    after = day + timedelta(days=1)
    return now - datetime(after.year, after.month, after.day, tzinfo=SHANGHAI).astimezone(UTC)


def download(
    url: str, *, headers: Mapping[str, str], timeout_seconds: tuple[float, float]
) -> bytes:
    """Return what lies at an address that the caller has checked.

    Follows no redirect, and reads no more than a bill may hold, nor longer than a minute.  The
    address carries a token: no error quotes it.

    Raises:
        ChannelUnknown: it could not be fetched whole.
    """
    to_connect, to_answer = timeout_seconds
    give_up_at = time.monotonic() + DEADLINE_SECONDS
    try:
        with requests.get(
            url,
            headers={**headers, "Accept-Encoding": "identity"},
            timeout=(to_connect, to_answer),
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code != requests.codes.ok:
                raise ChannelUnknown(f"http-{response.status_code}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ChannelUnknown("content-encoding")  # a packed answer could unpack to anything
            content = bytearray()
            for chunk in response.iter_content(_CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_BILL_BYTES:
                    raise ChannelUnknown("size")
                if time.monotonic() > give_up_at:
                    raise ChannelUnknown("timeout")
            told = response.headers.get("Content-Length")
    except requests.Timeout:
        raise ChannelUnknown("timeout") from None
    except requests.RequestException:
        raise ChannelUnknown("unreachable") from None
    if told is not None and told != str(len(content)):
        raise ChannelUnknown("content-length")
    return bytes(content)
