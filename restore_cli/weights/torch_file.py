"""Opens ``.pth``, ``.pt`` and ``.pkl`` checkpoints with NumPy alone, running nothing in them.

Understood are torch's zip container, its older plain container, and Jittor's pickles.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.weights import allowlist
from restore_cli.weights.pickle_reader import Global, Refused, read
from restore_cli.weights.sniff import describe
from restore_cli.weights.tensors import Budget, Storage, Tensor, item_size, size

MAX_MEMBERS = 200_000
MAX_DEPTH = 32
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# What zipfile raises for damaged archives, beside its own BadZipFile.
_ZIP_FAULTS = (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError,
               NotImplementedError, struct.error)
_JITTOR_TRAILER = b"HCAJSLHD"


class TorchFile:
    """An open checkpoint.

    Use as a context manager; tensors can be fetched while it is open.

    Attributes:
        value: the saved object: dicts, lists, numbers, text, `Tensor` and NumPy arrays.
        container: "zip", "legacy" or "pickle".

    Raises:
        WeightsError: not a checkpoint, damaged, or hostile; names the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file = None
        self._data: mmap.mmap | bytes = b""
        self._zip: zipfile.ZipFile | None = None
        try:
            self._open()
        except WeightsError as error:
            self.close()
            raise WeightsError(error.message, path=self.path, hint=error.hint) from error
        except OSError as error:
            self.close()
            raise WeightsError(f"cannot be read: {error.strerror or error}",
                               path=self.path) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; its tensors cannot be fetched any more."""
        if self._zip is not None:
            self._zip.close()
        if isinstance(self._data, mmap.mmap):
            self._data.close()
        if self._file is not None:
            self._file.close()

    def array(self, value: Any) -> np.ndarray:
        """The tensor or array `value` of this file as a contiguous NumPy array.

        Raises:
            WeightsError: the data is damaged, or larger than the file can account for.
        """
        try:
            if isinstance(value, Tensor):
                return value.array()
            found = allowlist.finished(value)
            if not isinstance(found, np.ndarray):
                raise Refused(f"holds {type(value).__name__} where a tensor belongs")
            native = found.dtype.newbyteorder("=")
            self._budget.take(found.nbytes)
            return np.array(found, dtype=native, order="C")
        except WeightsError as error:
            raise WeightsError(error.message, path=self.path) from error

    def _open(self) -> None:
        self._file = self.path.open("rb")
        length = self._file.seek(0, 2)
        self._file.seek(0)
        head = self._file.read(512)
        # Tied weights and views are fetched once each; eight times the file is generous.
        self._budget = Budget(8 * length + (1 << 20))
        if head.startswith(b"PK"):
            self.container = "zip"
            self._open_zip(length)
        elif head.startswith(b"\x80"):
            self._data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            self._open_pickles()
        else:
            raise WeightsError(f"is not a checkpoint: {describe(head)}")

    # Zip container: data.pkl beside one stored member per storage

    def _open_zip(self, length: int) -> None:
        try:
            self._zip = zipfile.ZipFile(self._file)
        except _ZIP_FAULTS as error:
            raise Refused(f"cannot be read: {error}") from error
        members = self._zip.infolist()
        names = {member.filename: member for member in members}
        if names.keys() & {"rdf.yaml", "bioimageio.yaml"}:
            raise WeightsError("is a bioimage.io package, not a checkpoint",
                               hint="Unpack it and convert the .pth file inside; its "
                                    "configuration tells the --normalisation")
        if len(members) > MAX_MEMBERS or len(names) != len(members):
            raise Refused("the archive has too many members, or two of one name")
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1
               for member in members):
            raise Refused("the archive is compressed or encrypted, which checkpoints never are")
        if sum(member.file_size for member in members) > length:
            raise Refused("the archive declares more data than the file holds")
        pickles = [name for name in names if name == "data.pkl" or
                   re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1:
            raise Refused("the archive holds no checkpoint (no data.pkl)")
        prefix = pickles[0][:-len("data.pkl")]
        if prefix + "constants.pkl" in names:
            raise WeightsError("is a TorchScript program, not a set of weights",
                               hint="Save the model's state_dict() instead")
        order = self._member(prefix + "byteorder") if prefix + "byteorder" in names else b"little"
        if order not in (b"little", b"big"):
            raise Refused("the archive has an unknown byte order")
        storages: dict[str, Storage] = {}

        def resolve(identity: Any) -> Storage:
            kind, key, numel = _storage_id(identity, 5)
            member = names.get(f"{prefix}data/{key}")
            if member is None:
                raise Refused(f"the archive lacks the data of storage {key}")
            if member.file_size != numel * item_size(kind):
                raise Refused(f"storage {key} has {member.file_size} bytes where {numel} elements "
                              f"of {kind} were declared")
            found = storages.setdefault(key, Storage(kind, numel, lambda: self._member(member),
                                                     self._budget, order == b"big"))
            return _same(found, kind, numel, key)

        self.value, _ = read(self._member(pickles[0]),
                             allowlist.allowlist(self._budget, resolve))

    def _member(self, name: str | zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(name)
        except _ZIP_FAULTS as error:
            raise Refused(f"cannot be read: {error or 'it ends too early'}") from error

    # Plain containers: torch's old one is a row of pickles followed by raw storages

    def _open_pickles(self) -> None:
        first, position = read(self._data[:64], allowlist.allowlist(self._budget)) \
            if self._data[:64].startswith(b"\x80\x02\x8a\n") else (None, 0)
        if isinstance(first, int) and first == _LEGACY_MAGIC:
            self.container = "legacy"
            self._open_legacy(position)
        else:
            self.container = "pickle"
            self._open_plain()

    def _open_legacy(self, position: int) -> None:
        plain = allowlist.allowlist(self._budget)
        protocol, position = read(self._data, plain, position)
        if not isinstance(protocol, int) or protocol != _LEGACY_PROTOCOL:
            raise Refused("the old torch container has an unknown version")
        _, position = read(self._data, plain, position)  # sizes of C types: no use today
        storages: dict[str, Storage] = {}
        starts: dict[str, int] = {}

        def fetcher(key: str, begin: int, count: int):
            def fetch() -> bytes:
                if key not in starts:
                    raise Refused(f"the file lacks the data of storage {key}")
                start = starts[key] + begin
                return self._data[start:start + count]
            return fetch

        def resolve(identity: Any) -> Storage:
            kind, key, numel = _storage_id(identity, 6)
            made = Storage(kind, numel, fetcher(key, 0, numel * item_size(kind)), self._budget)
            whole = _same(storages.setdefault(key, made), kind, numel, key)
            part = identity[5]
            if part is None:
                return whole
            if not isinstance(part, tuple) or len(part) != 3:
                raise Refused("a storage view is described by the wrong number of values")
            offset, count = size(part[1], "offset"), size(part[2], "size")
            if offset + count > numel:
                raise Refused("a storage view reaches outside its storage")
            width = item_size(kind)
            return Storage(kind, count, fetcher(key, offset * width, count * width), self._budget)

        self.value, position = read(
            self._data, allowlist.allowlist(self._budget, resolve), position)
        keys, position = read(self._data, plain, position)
        if (not isinstance(keys, list) or len(keys) > MAX_MEMBERS
                or not all(isinstance(key, (str, int)) for key in keys)
                or set(map(str, keys)) != set(storages) or len(keys) != len(storages)):
            raise Refused("the list of storages does not match the tensors")
        for key in map(str, keys):
            count = int.from_bytes(self._data[position:position + 8], "little", signed=True)
            storage = storages[key]
            starts[key] = position + 8
            position += 8 + storage.numel * item_size(storage.dtype)
            if count != storage.numel or position > len(self._data):
                raise Refused(f"the data of storage {key} is truncated or of another size")

    def _open_plain(self) -> None:
        data = self._data
        end = len(data)
        if data[-8:] == _JITTOR_TRAILER and end >= 28:
            end -= 28
            if hashlib.sha1(memoryview(data)[:end]).digest() != data[end:end + 20]:
                raise WeightsError("is damaged: its own checksum does not match")
        self.value, position = read(data, allowlist.allowlist(self._budget))
        if position != end:
            raise Refused("the pickle is followed by other data")


def _storage_id(identity: Any, length: int) -> tuple[str, str, int]:
    """dtype, key and element count of torch's ('storage', type, key, location, count, ...)."""
    what = identity[0] if isinstance(identity, tuple) and identity else None
    if not isinstance(what, str) or what != "storage" or len(identity) != length:
        if isinstance(what, str) and what == "module":
            raise WeightsError("holds a whole program object, not a set of weights",
                               hint="Save the model's state_dict() instead")
        raise Refused("a tensor's data is referred to in an unknown way")
    _, kind, key, _, numel = identity[:5]
    if not isinstance(kind, Global) or kind.name not in allowlist.STORAGE_TYPES:
        raise Refused("a storage has an unknown type")
    if type(key) not in (str, int) or not re.fullmatch(r"[0-9A-Za-z_]{1,64}", str(key)):
        raise Refused("a storage has a strange name")
    return allowlist.STORAGE_TYPES[kind.name], str(key), size(numel, "storage size")


def _same(storage: Storage, kind: str, numel: int, key: str) -> Storage:
    if (storage.dtype, storage.numel) != (kind, numel):
        raise Refused(f"storage {key} is declared twice with different sizes")
    return storage


def plain(value: Any) -> Any:
    """`value` as JSON-like data (for configurations), with limits on depth and amount.

    Raises:
        Refused: tensors or other objects inside, too deep (or endless), too much.
    """
    nodes = iter(range(10_000))

    def walk(item: Any, depth: int) -> Any:
        if depth > MAX_DEPTH or next(nodes, None) is None:
            raise Refused("the settings inside are nested too deep or too long")
        if item is None or isinstance(item, (bool, int, float)):
            if item is not None and not abs(item) < 1 << 53:  # NaN fails this too
                raise Refused("the settings inside hold an absurd number")
            return item
        if isinstance(item, str) and len(item) < 10_000:
            return item
        if isinstance(item, (list, tuple)):
            return [walk(part, depth + 1) for part in item]
        if isinstance(item, dict) and all(isinstance(key, str) for key in item):
            return {key: walk(part, depth + 1) for key, part in item.items()}
        raise Refused(f"the settings inside hold a {type(item).__name__}")

    return walk(value, 0)


def is_tensor(value: Any) -> bool:
    """Whether `value` of a checkpoint is a tensor or an array."""
    return isinstance(value, (Tensor, np.ndarray, allowlist.ArrayShell))


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of a tensor of a checkpoint, without fetching it."""
    return tuple(allowlist.finished(value).shape)
