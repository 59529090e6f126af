"""Archives in a bucket that hosts on AWS fetch and run."""

import base64
import binascii
import functools
import gzip
import io
import posixpath
import tarfile
import zlib

_UNREADABLE = (binascii.Error, ValueError, OSError, EOFError, KeyError, tarfile.TarError, zlib.error)


def is_archive(content: str) -> bool:
    """Whether a text is a gzip-compressed tar in base64."""
    try:
        with _opened(content) as archive:
            archive.getmembers()
    except _UNREADABLE:
        return False
    return True


@functools.lru_cache(maxsize=64)
def bundled_file(content: str, name: str) -> bytes | None:
    """The file `name` in an archive, which is a gzip-compressed tar in base64; None if it cannot be had.

    A file has many names, such as `./name`, and of several the last stays: as hosts unpack it.
    """
    try:
        with _opened(content) as archive:
            found = [member for member in archive if posixpath.normpath(member.name).lstrip("/") == name]
            file = archive.extractfile(found[-1]) if found else None
            return file.read() if file else None
    except _UNREADABLE:
        return None


def _opened(content: str) -> tarfile.TarFile:
    raw = gzip.decompress(base64.b64decode(content, validate=True))
    return tarfile.open(fileobj=io.BytesIO(raw))
