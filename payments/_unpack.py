"""Opening what a platform packed, without letting it grow beyond all bounds."""

import io
import struct
import zipfile
import zlib
from typing import Final

from payments.bill import MAX_BILL_BYTES, BillMalformed

_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_MOST_FILES = 16


def gunzip(content: bytes) -> bytes:
    """Return what one gzip member holds; content that is not gzip as it is.

    Raises:
        BillMalformed: `size`, `archive`.
    """
    if len(content) > MAX_BILL_BYTES:
        raise BillMalformed("size")
    if not content.startswith(_GZIP):
        return content
    member = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = member.decompress(content, MAX_BILL_BYTES + 1)
    except zlib.error:
        raise BillMalformed("archive") from None
    if len(unpacked) > MAX_BILL_BYTES:
        raise BillMalformed("size")
    if not member.eof or member.unused_data:
        raise BillMalformed("archive")
    return unpacked


def unzip(content: bytes) -> dict[str, bytes]:
    """Return the files of a zip by their names, which Chinese platforms write in GBK.

    Raises:
        BillMalformed: `size`; `archive`, also for a name that leads elsewhere.
    """
    if len(content) > MAX_BILL_BYTES:
        raise BillMalformed("size")
    files: dict[str, bytes] = {}
    left = MAX_BILL_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_FILES:
                raise BillMalformed("archive")
            for member in members:
                name = _name(member)
                if name in files:
                    raise BillMalformed("archive")
                with archive.open(
                    member
                ) as packed:  # what the directory says of sizes may be a lie
                    files[name] = packed.read(left + 1)
                left -= len(files[name])
                if left < 0:
                    raise BillMalformed("size")
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
        *(NotImplementedError, RuntimeError, ValueError, IndexError, OverflowError),
    ):  # zipfile lets through whatever a broken file makes it stumble over
        raise BillMalformed("archive") from None
    return files


def _name(member: zipfile.ZipInfo) -> str:
    """Return a file's name.  Without the flag for UTF-8, zipfile took its bytes for code page 437.

    Raises:
        BillMalformed: `archive`: a folder, a path, encrypted, or packed in an unexpected way.
        ValueError: no name at all.
    """
    name = member.orig_filename
    if not member.flag_bits & _UTF8_NAME:
        name = name.encode("cp437").decode("gb18030")
    if (
        not name
        or {"/", "\\", "\0"} & set(name)
        or name in {".", ".."}
        or member.flag_bits & _ENCRYPTED
        or member.compress_type not in _METHODS
    ):
        raise BillMalformed("archive")
    return name
