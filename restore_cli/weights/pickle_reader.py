"""Reads pickles without running anything: a small interpreter of the opcodes checkpoints use.

Python's own unpickler calls whatever a file names. This one turns every name into an inert
`Global`, looks calls up in an exact table of our own functions (`Allowed`), and refuses the
rest. Memory is bounded by the file's size and by limits on operations and nesting.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from restore_cli.errors import WeightsError

MAX_OPERATIONS = 4_000_000
MAX_MARKS = 256
MAX_INTEGER_BYTES = 32


@dataclass(frozen=True)
class Global:
    """A name such as ``torch.FloatStorage`` found in a pickle; nothing is imported."""

    name: str


@dataclass(frozen=True)
class Allowed:
    """What a pickle may name.

    Attributes:
        calls: functions that stand in for the named callables; they get the argument tuple.
        names: names that may appear as plain values (storage types, dtypes, classes).
        builds: by type, functions `(object, state) -> None` for the BUILD opcode.
        persistent: resolves persistent ids, or None where there must be none.
    """

    calls: Mapping[str, Callable[[tuple], Any]]
    names: frozenset[str] = frozenset()
    builds: Mapping[type, Callable[[Any, Any], None]] = field(default_factory=dict)
    persistent: Callable[[Any], Any] | None = None


class Refused(WeightsError):
    """The pickle is damaged, or asks for something a weight file has no business asking."""


_MARK = object()
_NUMBERS_ONLY = ("Only numbers are read, no program objects: save the model's state_dict(), or "
                 "take the file that was kept as the best")


def read(data: Any, allowed: Allowed, start: int = 0) -> tuple[Any, int]:
    """Reads one pickle from `data` (bytes or mmap) at offset `start`.

    Returns:
        The value and the offset just after it. Containers are plain lists, tuples, dicts and
        sets; keys are strings, numbers, bytes or None.

    Raises:
        Refused: truncated or malformed data, an opcode or a name that is not allowed, limits.
    """
    return _Machine(data, allowed, start).run()


class _Machine:
    def __init__(self, data: Any, allowed: Allowed, start: int):
        self.data, self.allowed, self.position = data, allowed, start
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.marks = 0

    def run(self) -> tuple[Any, int]:
        if self.byte() != 0x80 or not 2 <= self.byte() <= 5:
            raise Refused("not a pickle of protocol 2 to 5")
        for _ in range(MAX_OPERATIONS):
            code = self.byte()
            if code == 0x2E:  # STOP
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise Refused("the pickle ends in the middle of a value")
                return self.stack[0], self.position
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise Refused(f"the pickle uses opcode {code:#04x}, which no checkpoint needs")
            operation(self)
        raise Refused(f"the pickle has more than {MAX_OPERATIONS} operations")

    # Reading the byte stream

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise Refused("the pickle is truncated")
        piece = bytes(self.data[self.position:end])
        self.position = end
        return piece

    def byte(self) -> int:
        if self.position >= len(self.data):
            raise Refused("the pickle is truncated")
        self.position += 1
        return self.data[self.position - 1]

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 1024)
        if end < 0:
            raise Refused("the pickle holds an endless name")
        text = self.text(end - self.position)
        self.position += 1
        return text

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Refused("the pickle holds text that is not UTF-8") from error

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("the pickle takes a value that is not there")
        return self.stack.pop()

    def top(self, *kinds: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise Refused("the pickle fills something that is not a container")
        return self.stack[-1]

    def mark(self) -> None:
        self.marks += 1
        if self.marks > MAX_MARKS:
            raise Refused(f"the pickle is nested more than {MAX_MARKS} deep")
        self.stack.append(_MARK)

    def to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                items = self.stack[index + 1:]
                del self.stack[index:]
                self.marks -= 1
                return items
        raise Refused("the pickle closes what it never opened")

    def memoise(self, index: int) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("the pickle remembers a value that is not there")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise Refused("the pickle recalls a value it never stored")
        self.push(self.memo[index])

    # Values

    def integer(self, size: int) -> None:
        if size > MAX_INTEGER_BYTES:
            raise Refused("the pickle holds an integer of absurd size")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def bytestring(self, size: int) -> None:
        # Python 2 wrote its str this way: text where it is text, bytes (array data) else.
        piece = self.take(size)
        self.push(piece.decode("ascii") if piece.isascii() else piece)

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend_list(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def extend_set(self) -> None:
        items = self.to_mark()
        self.top(set).update(_key(item) for item in items)

    def extend_dict(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise Refused("the pickle holds a key without a value")
        target = self.top(dict)
        for index in range(0, len(items), 2):
            target[_key(items[index])] = items[index + 1]

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.extend_dict([key, value])

    def append(self) -> None:
        value = self.pop()
        self.extend_list([value])

    # Names and calls: the whole of what a pickle can make happen

    def named(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Refused("the pickle names something with a value that is no name")
        full = f"{module}.{name}"
        if full not in self.allowed.calls and full not in self.allowed.names:
            raise Refused(f"refers to {_printable(full)}, which has no place in a weight file; "
                          "nothing was run", hint=_NUMBERS_ONLY)
        self.push(Global(full))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.named(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise Refused("the pickle calls something that is not a name")
        if function.name not in self.allowed.calls:
            raise Refused(f"calls {function.name}, which is only allowed as a value")
        self.push(self.allowed.calls[function.name](arguments))

    def reduce_with_keywords(self) -> None:
        keywords = self.pop()
        if not isinstance(keywords, dict) or keywords:
            raise Refused("the pickle calls something with keyword arguments")
        self.reduce()

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        handler = self.allowed.builds.get(type(target))
        if handler is None:
            raise Refused(f"the pickle sets the state of a {type(target).__name__}")
        handler(target, state)

    def persistent(self) -> None:
        identity = self.pop()
        if self.allowed.persistent is None:
            raise Refused("the pickle refers to outside data where there is none")
        self.push(self.allowed.persistent(identity))


def _key(value: Any) -> Any:
    """Keys are scalars: hashing a nested tuple of a hostile file could take for ever."""
    if value is None or isinstance(value, (str, int, float, bytes)):
        return value
    raise Refused(f"the pickle uses a {type(value).__name__} as a key")


def _printable(name: str) -> str:
    return name[:200].encode("unicode_escape").decode("ascii")


_OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    ord("("): _Machine.mark,
    ord("0"): _Machine.pop,
    ord("1"): _Machine.to_mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: lambda m: m.integer(m.byte()),
    0x8B: lambda m: m.integer(m.number("<I")),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("U"): lambda m: m.bytestring(m.byte()),
    ord("T"): lambda m: m.bytestring(m.number("<I")),
    ord("X"): lambda m: m.push(m.text(m.number("<I"))),
    0x8C: lambda m: m.push(m.text(m.byte())),
    0x8D: lambda m: m.push(m.text(m.number("<Q"))),
    ord("C"): lambda m: m.push(m.take(m.byte())),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(m.take(m.number("<Q"))),  # BYTEARRAY8: never changed, so bytes do
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.to_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("]"): lambda m: m.push([]),
    ord("a"): _Machine.append,
    ord("e"): lambda m: m.extend_list(m.to_mark()),
    ord("}"): lambda m: m.push({}),
    ord("s"): _Machine.set_item,
    ord("u"): lambda m: m.extend_dict(m.to_mark()),
    0x8F: lambda m: m.push(set()),
    0x90: _Machine.extend_set,
    0x91: lambda m: m.push(frozenset(_key(item) for item in m.to_mark())),
    ord("h"): lambda m: m.recall(m.byte()),
    ord("j"): lambda m: m.recall(m.number("<I")),
    ord("q"): lambda m: m.memoise(m.byte()),
    ord("r"): lambda m: m.memoise(m.number("<I")),
    0x94: lambda m: m.memoise(len(m.memo)),
    0x95: lambda m: m.number("<Q"),  # FRAME: a hint for readers of streams
    ord("c"): lambda m: m.named(m.line(), m.line()),
    0x93: _Machine.stack_global,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,  # NEWOBJ: to an inert reader the same as a call
    0x92: _Machine.reduce_with_keywords,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent,
}
