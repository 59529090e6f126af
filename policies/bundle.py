"""Archives in a bucket that hosts on AWS fetch and run."""

import base64
import binascii
import functools
import gzip
import io
import tarfile
import zlib


@functools.lru_cache(maxsize=64)
def bundled_file(content: str, name: str) -> bytes | None:
    """The file `name` in an archive, which is a gzip-compressed tar in base64; None if it cannot be had."""
    try:
        raw = gzip.decompress(base64.b64decode(content, validate=True))
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            file = archive.extractfile(name)
            return file.read() if file else None
    except (binascii.Error, ValueError, OSError, EOFError, KeyError, tarfile.TarError, zlib.error):
        return None
