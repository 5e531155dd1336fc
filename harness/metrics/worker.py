"""The other process of `harness.metrics.parallel`: measures what it is sent until its input ends.

Frames go both ways, eight bytes of length first: in, the pickled metric and then (samples, completions) again and
again; out, statistics as .npy, or an empty frame where measuring failed.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
from typing import BinaryIO

import numpy as np

from harness.core.types import FloatArray

_LENGTH = struct.Struct(">Q")


def send(stream: BinaryIO, frame: bytes) -> None:
    """One frame; OSError where nobody reads any more."""
    stream.write(_LENGTH.pack(len(frame)) + frame)
    stream.flush()


def receive(stream: BinaryIO) -> bytes:
    """The next frame; EOFError where none comes any more."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    frame = stream.read(length)
    if len(frame) < length:
        raise EOFError
    return frame


def to_bytes(statistics: FloatArray) -> bytes:
    """As .npy."""
    stream = io.BytesIO()
    np.save(stream, statistics, allow_pickle=False)
    return stream.getvalue()


def main() -> None:
    """Serve the process that started this one."""
    replies = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not come between the frames.
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    try:
        # From the harness itself, which pickled it a moment ago; no file and no network is between.
        metric = pickle.loads(receive(requests))  # noqa: S301
        while True:
            frame = receive(requests)
            try:
                reply = to_bytes(metric.measure(*pickle.loads(frame)))  # noqa: S301
            except Exception:
                # The other side measures these rows again, and raises what there is to raise.
                reply = b""
            send(replies, reply)
    except (EOFError, OSError):
        return


if __name__ == "__main__":
    main()
