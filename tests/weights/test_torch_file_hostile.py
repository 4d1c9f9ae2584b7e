"""The checkpoint reader refuses contents that lie or would run code."""

from __future__ import annotations

import os

import crafted
import pytest
from crafted import Build, Call, Name, Persistent, Raw, legacy_file, pickled, storage_id, tensor
from refusals import refused

from restore_cli.errors import WeightsError
from restore_cli.weights.torch_file import TorchFile, plain

# Names and opcodes


class Evil:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("container", ["pickle", "zip"])
def test_code_is_refused_by_name_and_never_run(saved, tmp_path, monkeypatch, protocol, container):
    import pickle

    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"a": Evil()}, protocol)
    if container == "zip":
        data = crafted.zip_file(Raw(data[2:-1]), {})
    refused(saved(data), r"(posix|nt)\.system.*nothing was run")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("module,name", [
    ("builtins", "eval"), ("builtins", "getattr"), ("os", "system"), ("subprocess", "Popen"),
    ("torch", "load"), ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("torch", "os.system"),
    ("numpy.core.multiarray", "__builtins__"), ("collections", "namedtuple"),
    ("torch.storage", "_load_from_bytes"), ("FloatStorage", "x"), ("torch", "EvilStorage"),
    ("numpy", "load"), ("jittor_utils", "run_cmd"), ("torch.jit", "FloatStorage")])
@pytest.mark.parametrize("stacked", [False, True])
def test_only_exact_names_pass(saved, module, name, stacked):
    value = Raw(crafted.body(module) + crafted.body(name) + b"\x93") if stacked \
        else Name(module, name)
    refused(saved(pickled({"a": Call(value, ("1",))}, 4)), "refers to ")


@pytest.mark.parametrize("code,message", [
    (b"cos\nsystem\n.", "os.system"),
    (b"(S'id'\nios\nsystem\n.", "opcode"),  # INST
    (b"(cos\nsystem\no.", "os.system"),  # OBJ
    (b"\x82\x01.", "opcode"),  # EXT1
    (b"Pname\n.", "opcode"),  # PERSID as text
    (b"N2.", "opcode"),  # DUP
    (b"\x97.", "opcode"),  # out-of-band buffer
    (b"h\x07.", "never stored"), (b"j\xff\xff\xff\xff.", "never stored"),
    (b"q\x00.", "remembers"), (b"0.", "not there"), (b"t.", "never opened"),
    (b"(.", "middle"), (b"NN.", "middle"), (b".", "middle"), (b"N", "truncated"),
    (b"X\xff\xff\xff\x7fab.", "truncated"), (b"\x8e" + b"\xff" * 8 + b".", "truncated"),
    (b"X\x01\x00\x00\x00\xff.", "UTF-8"), (b"c" + b"a" * 2000, "endless"),
    (b"\x8b\xff\xff\xff\x7f1.", "absurd"), (b"}(Nu.", "without a value"),
    (b"}(]Nu.", "as a key"), (b"}()Nu.", "as a key"), (b"Na.", "container"), (b"a.", "not there"),
    (b"NNa.", "container"),
    (b"NNNs.", "container"), (b"](N\x90.", "container"), (b"N)R.", "not a name"),
    (b"ctorch\nFloatStorage\n)R.", "only allowed as a value"),
    (b"ccollections\nOrderedDict\nNR.", "not a name"),
    (b"ccollections\nOrderedDict\n)}(X\x01\x00\x00\x00aNu\x92.", "keyword"),
    (b"]}b.", "state of a list"), (b"}Nb.", "unknown state"), (b"NNb.", "state of a NoneType"),
    (b"ctorch\nFloatStorage\n}b.", "state of a Global"),
    (b"NQ.", "outside data"), (b"(" * 300 + b".", "nested"),
    (b"N\x8c\x01a\x93.", "no name"),
])
def test_malformed_and_tricky_opcodes(saved, code, message):
    refused(saved(b"\x80\x04" + code), message)


@pytest.mark.parametrize("head", [b"\x80\x01N.", b"\x80\x06N.", b"\x80"])
def test_other_pickle_protocols(saved, head):
    refused(saved(head))


def test_a_pickle_inside_itself_is_no_trap(saved):
    looped = b"]q\x00h\x00a"  # a list that contains itself
    refused(saved(b"\x80\x02" + looped + b"."), "nested too deep")
    shared = b"]q\x00(" + b"](h\x00h\x00eq\x00" * 60 + b"e"  # 2**60 paths, 60 lists
    with TorchFile(saved(b"\x80\x02" + shared + b".")) as file:
        with pytest.raises(WeightsError, match="too deep or too long"):
            plain(file.value)


def test_deep_nesting_without_marks(saved):
    refused(saved(b"\x80\x02)" + b"\x85" * 100_000 + b"."), "nested too deep")


def test_endless_operations(saved, monkeypatch):
    monkeypatch.setattr("restore_cli.weights.pickle_reader.MAX_OPERATIONS", 1000)
    refused(saved(b"\x80\x02" + b"N0" * 1000 + b"N."), "operations")


def test_copies_of_copies_are_bounded(saved):
    text = crafted.body("x" * 100_000) + b"q\x000" + crafted.body("latin1") + b"q\x010"
    copy = b"c_codecs\nencode\nh\x00h\x01\x86R"
    refused(saved(b"\x80\x02" + text + b"](" + copy * 2000 + b"e."), "far more data")


# Tensors that lie


@pytest.mark.parametrize("shape,strides,offset,message", [
    ((6,), (1,), 1, "reaches element 6"), ((2, 3), (4, 1), 0, "reaches element 6"),
    ((6,), (1,), -1, "offset"), ((6,), (-1,), 5, "strides"), ((-6,), (1,), 0, "shape"),
    ((1 << 60,), (1,), 0, "shape"), ((1 << 20, 1 << 20), (0, 0), 0, "claims a storage"),
    ((7,), (0,), 0, "claims"), ((6,), (1, 1), 0, "sides"), ((1,) * 17, (1,) * 17, 0, "sides"),
    ((2.0,), (1,), 0, "shape"), ((True,), (1,), 0, "shape"), ("6", (1,), 0, "not a list"),
    ((6,), None, 0, "not a list"), ((6,), (1,), 1 << 100, "offset"), ((0,), (1,), 7, "reaches"),
    ((6,), (1,), None, "offset"), ((2, 3), (1 << 47, 1), 0, "reaches"),
])
@pytest.mark.parametrize("legacy", [False, True])
def test_bounds(saved, shape, strides, offset, message, legacy):
    _, raw = crafted.numbers()
    value = {"a": tensor(storage_id(legacy=legacy), shape, strides, offset)}
    data = legacy_file(value, {"0": (6, raw)}) if legacy else crafted.zip_file(value, {"0": raw})
    refused(saved(data), message)


@pytest.mark.parametrize("identity,message", [
    (("storage", Name("torch", "FloatStorage"), "0", "cpu"), "unknown way"),
    (("tensor", Name("torch", "FloatStorage"), "0", "cpu", 6), "unknown way"),
    ("0", "unknown way"), (None, "unknown way"), ((), "unknown way"), ([1], "unknown way"),
    (("module", Name("torch", "FloatStorage"), "f.py", "source"), "whole program"),
    (("storage", "torch.FloatStorage", "0", "cpu", 6), "unknown type"),
    (("storage", Name("numpy", "ndarray"), "0", "cpu", 6), "unknown type"),
    (("storage", Name("torch", "FloatStorage"), "../../etc/passwd", "cpu", 6), "strange name"),
    (("storage", Name("torch", "FloatStorage"), ("0",), "cpu", 6), "strange name"),
    (("storage", Name("torch", "FloatStorage"), "1", "cpu", 6), "lacks the data"),
    (("storage", Name("torch", "FloatStorage"), "0", "cpu", 7), "24 bytes where 7"),
    (("storage", Name("torch", "FloatStorage"), "0", "cpu", -1), "storage size"),
    (("storage", Name("torch", "FloatStorage"), "0", "cpu", 1 << 62), "storage size"),
])
def test_storage_references(saved, identity, message):
    _, raw = crafted.numbers()
    value = {"a": Call(crafted.REBUILD, (Persistent(identity), 0, (6,), (1,), False, {}))}
    refused(saved(crafted.zip_file(value, {"0": raw})), message)


def test_one_storage_declared_twice_differently(saved):
    _, raw = crafted.numbers()
    value = {"a": tensor(storage_id(), (6,), (1,)),
             "b": tensor(storage_id(kind="HalfStorage", numel=12), (12,), (1,))}
    refused(saved(crafted.zip_file(value, {"0": raw})), "declared twice")


@pytest.mark.parametrize("arguments", [
    (), (1,), ("0", 0, (1,), (1,)), (None, 0, (6,), (1,), False, {}), ([], {}, (), ())])
def test_tensor_calls_with_nonsense(saved, arguments):
    refused(saved(crafted.zip_file({"a": Call(crafted.REBUILD, arguments)}, {})))


def test_many_views_cannot_multiply_a_small_file(saved):
    _, raw = crafted.numbers(100_000)
    one = tensor(storage_id(numel=100_000), (100_000,), (1,))
    value = {str(index): one for index in range(200)}
    refused(saved(crafted.zip_file(value, {"0": raw})), "far more data")


# Arrays that lie


def array_value(dtype="f4", shape=(2,), raw=b"\0" * 8, fortran=False, state=None):
    made = Call(Name("numpy.core.multiarray", "_reconstruct"),
                (Name("numpy", "ndarray"), (0,), b"b"))
    kind = Build(Call(Name("numpy", "dtype"), (dtype, False, True)),
                 (3, "<", None, None, None, -1, -1, 0) if state is None else state)
    return Build(made, (1, shape, kind, fortran, raw))


@pytest.mark.parametrize("value,message", [
    (array_value("O8"), "no plain number"), (array_value("V8"), "no plain number"),
    (array_value("M8"), "no plain number"), (array_value("f4,f4"), "no plain number"),
    (array_value("U2"), "no plain number"), (array_value("f16"), "no plain number"),
    (array_value(state=(3, "|", (1, 2), None, None, -1, -1, 0)), "no plain number"),
    (array_value(state=(3, "|", None, ("a",), {}, -1, -1, 0)), "no plain number"),
    (array_value(shape=(3,)), "claims the shape"), (array_value(shape=(1 << 40,)), "claims"),
    (array_value(shape=(-2,)), "size"), (array_value(raw=[1, 2]), "plain data"),
    (array_value(shape=(1,) * 20, raw=b"\0" * 4), "claims"), (array_value(fortran="x"), "unknown"),
    (Build(array_value(), (1, (2,), None, False, b"")), "unknown description"),
    (Call(Name("numpy.core.multiarray", "_reconstruct"), (Name("numpy", "dtype"), (0,), b"b")),
     "unknown kind"),
    (Call(Name("numpy.core.multiarray", "_reconstruct"),
          (Name("numpy", "ndarray"), (0,), b"b")), "never fills"),
    (Call(Name("jittor", "Var"), (3,)), "without an array"),
    (Call(Name("_codecs", "encode"), ("x", "rot13")), "Latin-1"),
    (Call(Name("_codecs", "encode"), ("\u20ac", "latin1")), "Latin-1"),
    (Call(Name("_codecs", "encode"), ("x", array_value())), "Latin-1"),
    (Call(Name("collections", "OrderedDict"), ([(array_value(), 1)],)), "no pair"),
    (Call(Name("collections", "OrderedDict"), (3,)), "no list"),
    (Call(Name("builtins", "set"), ([[1]],)), "no number"),
])
def test_arrays_and_calls_that_lie(saved, value, message):
    refused(saved(pickled({"a": value})), message)
