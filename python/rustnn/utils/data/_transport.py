"""Messages between a loader and its workers: pickles, whose tensors and arrays travel in shared memory.

A message is a pickle over a socket pair. Its large buffers lie in one anonymous file whose descriptor goes along
with it; the receiver maps that file and builds tensors on it, so nothing is copied and nothing is left behind
when a process dies. Where descriptors can't be passed (Windows), the buffers follow in the stream.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor

_CAN_PASS_FILES = hasattr(socket, "send_fds")
# Below this, copying through the socket is cheaper than making and mapping a file.
_SHARE_FROM = 16 * 1024
_ALIGN = 64
_HEAD = struct.Struct("<QQ?")


def _from_array(array: np.ndarray[Any, Any], narrow: bool) -> Tensor:
    tensor = rustnn.from_numpy(array)
    return tensor.view(rustnn.bfloat16) if narrow else tensor


class _Pickler(pickle.Pickler):
    """Turns tensors into NumPy arrays, whose memory pickle protocol 5 hands over unpickled."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and not (obj.requires_grad or obj.numel() == 0):
            narrow = obj.dtype == rustnn.bfloat16
            plain = obj.detach().contiguous()
            array = (plain.view(rustnn.int16) if narrow else plain).numpy()
            return _from_array, (array, narrow)
        return NotImplemented


class Channel:
    """One end of a message stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        """The descriptor, for waiting on it."""
        return self.sock.fileno()

    def close(self) -> None:
        """Closes this end; the other sees the stream's end."""
        self.sock.close()

    def send(self, message: Any) -> None:
        """Sends any picklable object; blocks while the other end does not read."""
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(message)
        body = stream.getbuffer()
        views = [b.raw() for b in buffers]
        sizes = [v.nbytes for v in views]
        table = struct.pack(f"<{len(sizes)}Q", *sizes)
        share = _CAN_PASS_FILES and sum(sizes) >= _SHARE_FROM
        self.sock.sendall(_HEAD.pack(len(body), len(sizes), share) + table)
        self.sock.sendall(body)
        if not share:
            for view in views:
                self.sock.sendall(view)
            return
        fd = _write_file(views, sizes)
        try:
            socket.send_fds(self.sock, [b"f"], [fd])
        finally:
            os.close(fd)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other end is gone.
        """
        length, count, share = _HEAD.unpack(self._read(_HEAD.size))
        sizes = struct.unpack(f"<{count}Q", self._read(8 * count))
        body = self._read(length)
        if share:
            _, fds, _, _ = socket.recv_fds(self.sock, 1, 1)
            if not fds:
                raise EOFError
            try:
                whole = memoryview(mmap.mmap(fds[0], 0))
            finally:
                os.close(fds[0])
            buffers, offset = [], 0
            for size in sizes:
                buffers.append(whole[offset : offset + size])
                offset += -(-size // _ALIGN) * _ALIGN
        else:
            buffers = [memoryview(self._read(size)) for size in sizes]
        return pickle.loads(body, buffers=buffers)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            n = self.sock.recv_into(view[got:])
            if n == 0:
                raise EOFError
            got += n
        return data


def _write_file(views: list[memoryview], sizes: list[int]) -> int:
    """An anonymous file with the buffers, each at a multiple of the alignment."""
    total = sum(-(-size // _ALIGN) * _ALIGN for size in sizes)
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("rustnn-batch", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, total)
        offset = 0
        for view, size in zip(views, sizes, strict=True):
            done = 0
            while done < size:
                done += os.pwrite(fd, view[done:], offset + done)
            offset += -(-size // _ALIGN) * _ALIGN
    except BaseException:
        os.close(fd)
        raise
    return fd


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    a, b = socket.socketpair()
    return Channel(a), Channel(b)


class _Plain(str):
    """A string that is shown without quotes and escapes, as KeyError would otherwise show it."""

    def __repr__(self) -> str:
        return str(self)


def rebuildable(error: Callable[..., Any], text: str) -> BaseException:
    """An exception of a worker's type with its text, or a RuntimeError where the type can't be made of a text."""
    try:
        made = error(_Plain(text) if error is KeyError else text)
    except Exception:  # a constructor of the user's, which may raise anything
        return RuntimeError(text)
    return made if isinstance(made, BaseException) else RuntimeError(text)
