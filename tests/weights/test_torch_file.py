"""The checkpoint reader: honest files bit-exactly, hostile ones never."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib

import crafted
import numpy as np
import pytest
from crafted import Build, Call, Name, Persistent, Raw, legacy_file, pickled, storage_id, tensor

from restore_cli.errors import ExitStatus, WeightsError
from restore_cli.weights.torch_file import TorchFile, plain, shape_of


def refused(path, message=None):
    """Opening and reading everything in `path` fails with a WeightsError that names it."""
    with pytest.raises(WeightsError, match=message) as caught:
        with TorchFile(path) as file:
            for key in file.value if isinstance(file.value, dict) else ():
                file.array(file.value[key])
            if not isinstance(file.value, dict):
                plain(file.value)
    assert caught.value.status == ExitStatus.WEIGHTS
    return caught.value


@pytest.fixture
def saved(tmp_path):
    def save(data: bytes, name: str = "x.pth"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save


# Honest files


def test_zip_storages_of_every_dtype(saved):
    kinds = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2",
             "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2",
             "CharStorage": "i1", "ByteStorage": "u1", "ComplexFloatStorage": "<c8"}
    state, storages, expected = {}, {}, {}
    for kind, code in kinds.items():
        array = np.arange(6).astype(code)
        state[kind] = tensor(storage_id(kind, kind), (2, 3), (3, 1))
        storages[kind], expected[kind] = array.tobytes(), array.reshape(2, 3)
    with TorchFile(saved(crafted.zip_file(state, storages))) as file:
        for kind, array in expected.items():
            found = file.array(file.value[kind])
            assert found.dtype == array.dtype and np.array_equal(found, array)


def test_bfloat16_becomes_float32(saved):
    values = np.array([1.0, -2.5, 3e38, 0.0, np.inf, 1e-40], np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2")
    expected = (raw.astype(np.uint32) << 16).view(np.float32)
    state = {"a": tensor(storage_id("0", "BFloat16Storage"), (6,), (1,)),
             "scalar": tensor(storage_id("0", "BFloat16Storage"), (), (), 1)}
    with TorchFile(saved(crafted.zip_file(state, {"0": raw.tobytes()}))) as file:
        assert np.array_equal(file.array(file.value["a"]), expected)
        assert file.array(file.value["scalar"]) == expected[1]


def test_bool_is_bool_whatever_the_bytes(saved):
    state = {"a": tensor(storage_id("0", "BoolStorage", 3), (3,), (1,))}
    with TorchFile(saved(crafted.zip_file(state, {"0": b"\0\1\7"}))) as file:
        found = file.array(file.value["a"])
        assert found.dtype == bool and found.tolist() == [False, True, True]


@pytest.mark.parametrize("order", ["little", "big"])
def test_byte_order_record(saved, order):
    values, _ = crafted.numbers()
    raw = values.astype(">f4" if order == "big" else "<f4").tobytes()
    data = crafted.zip_file({"a": tensor(storage_id(), (6,), (1,))}, {"0": raw},
                            extra={"byteorder": order.encode()})
    with TorchFile(saved(data)) as file:
        found = file.array(file.value["a"])
        assert np.array_equal(found, values) and found.dtype.isnative


@pytest.mark.parametrize("legacy", [False, True])
def test_views_of_one_storage_and_cuda_tags(saved, legacy):
    values, raw = crafted.numbers(24)
    identity = storage_id("0", numel=24, location="cuda:3", module="torch.cuda", legacy=legacy)
    state = {"all": tensor(identity, (4, 6), (6, 1)), "turned": tensor(identity, (6, 4), (1, 6)),
             "part": tensor(identity, (3, 2), (6, 3), 7), "one": tensor(identity, (), (), 23),
             "none": tensor(identity, (0, 5), (5, 1), 24)}
    data = legacy_file(state, {"0": (24, raw)}) if legacy else crafted.zip_file(state, {"0": raw})
    grid = values.reshape(4, 6)
    with TorchFile(saved(data)) as file:
        found = {key: file.array(item) for key, item in file.value.items()}
        assert file.container == ("legacy" if legacy else "zip")
        assert shape_of(file.value["part"]) == (3, 2)
    assert np.array_equal(found["all"], grid) and np.array_equal(found["turned"], grid.T)
    assert np.array_equal(found["part"], np.stack([grid[1:, 1], grid[1:, 4]], axis=1))
    assert found["one"] == values[23] and found["none"].shape == (0, 5)
    assert all(array.flags.c_contiguous for array in found.values())


def test_older_rebuild_functions_parameters_and_views(saved):
    values, raw = crafted.numbers(8)
    whole = Persistent(storage_id("k", numel=8, legacy=True))
    part = Persistent((*storage_id("k", numel=8), ("view", 2, 4)))
    old = Call(Name("torch._utils", "_rebuild_tensor"), (whole, 1, (3,), (2,)))
    state = {"old": old, "view": Call(crafted.REBUILD, (part, 1, (3,), (1,), False, {})),
             "parameter": Call(Name("torch._utils", "_rebuild_parameter"), (old, True, {}))}
    with TorchFile(saved(legacy_file(state, {"k": (8, raw)}))) as file:
        assert np.array_equal(file.array(file.value["old"]), values[1:7:2])
        assert np.array_equal(file.array(file.value["parameter"]), values[1:7:2])
        assert np.array_equal(file.array(file.value["view"]), values[3:6])


def test_tensor_with_its_own_dtype(saved):
    raw = np.array([1, 2, 65535], "<u2").tobytes()
    value = Call(Name("torch._utils", "_rebuild_tensor_v3"),
                 (Persistent(storage_id("0", "UntypedStorage", 6, module="torch.storage")), 0,
                  (3,), (1,), False, {}, Name("torch", "uint16")))
    with TorchFile(saved(crafted.zip_file({"a": value}, {"0": raw}))) as file:
        assert file.array(file.value["a"]).tolist() == [1, 2, 65535]


@pytest.mark.parametrize("name,container", [("jittor_module.pkl", "pickle"),
                                            ("jittor_module.pth", "zip")])
def test_files_saved_by_jittor(data, name, container):
    with TorchFile(data / name) as file:
        assert file.container == container
        value = file.value.get("model", file.value)
        value = value.get("sd", value)
        assert list(value) == ["weight", "bias"]
        assert np.array_equal(file.array(value["weight"]), np.load(data / "jittor_weight.npy"))


def test_dictionary_of_arrays_saved_by_jittor(data):
    with TorchFile(data / "jittor_dict.pkl") as file:
        assert np.array_equal(file.array(file.value["a"]),
                              np.arange(6, dtype=np.float32).reshape(2, 3))
        assert file.array(file.value["b"]).tolist() == [0, 1, 2, 3] and file.value["n"] == 3


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_pickles_of_every_protocol(saved, protocol):
    import pickle

    arrays = {"c": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.eye(3, 4)),
              "big": np.arange(4, dtype=">i4"), "empty": np.zeros((0, 2), np.float16),
              "scalar": np.float32(2.5), "set": {1, 2}}
    with TorchFile(saved(pickle.dumps(arrays, protocol), "x.pkl")) as file:
        for key in ("c", "f", "big", "empty"):
            assert np.array_equal(file.array(file.value[key]), arrays[key])
        assert file.value["scalar"] == 2.5 and file.value["set"] == {1, 2}


def test_attributes_of_state_dicts_are_ignored(saved):
    values, raw = crafted.numbers()
    state = Build(Call(Name("collections", "OrderedDict"),
                       ([("a", tensor(storage_id(), (6,), (1,)))],)), {"_metadata": ORDERED_META})
    with TorchFile(saved(crafted.zip_file(state, {"0": raw}))) as file:
        assert np.array_equal(file.array(file.value["a"]), values)
        assert list(file.value) == ["a"]


ORDERED_META = Call(Name("collections", "OrderedDict"), ())


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


# Containers that lie


def test_truncated_anywhere(saved, golden_file):
    for name in ("edsr_tiny_x2_legacy.pt", "liif_tiny.pth"):
        whole = golden_file(name).read_bytes()
        for length in (0, 1, 3, 20, 400, len(whole) // 2, len(whole) - 1):
            refused(saved(whole[:length]))


@pytest.mark.parametrize("name", ["edsr_tiny_x2_legacy.pt", "liif_tiny.pth"])
def test_changed_bytes_never_crash(saved, golden_file, name):
    """Whatever a damaged byte does, it is a WeightsError or a reading."""
    whole = golden_file(name).read_bytes()
    random = np.random.default_rng(1)
    refusals = 0
    for attempt in range(150):
        damaged = bytearray(whole)
        # The pickle is at the front of both, the zip's directory at the end.
        place = int(random.integers(0, 5000))
        damaged[place if attempt % 2 else -place - 1] = int(random.integers(0, 256))
        try:
            with TorchFile(saved(bytes(damaged))) as file:
                for item in file.value.values() if isinstance(file.value, dict) else ():
                    file.array(item)
        except WeightsError:
            refusals += 1
    assert refusals > 30


@pytest.mark.parametrize("change,message", [
    (dict(magic=0x1950A86A20F9469CFC6D), "followed by other data"),
    (dict(protocol=1002), "unknown version"), (dict(keys=["1"]), "does not match"),
    (dict(keys=["0", "0"]), "does not match"), (dict(keys="0"), "does not match"),
    (dict(keys=[["0"]]), "does not match"),
])
def test_legacy_headers(saved, change, message):
    _, raw = crafted.numbers()
    value = {"a": tensor(storage_id(legacy=True), (6,), (1,))}
    refused(saved(legacy_file(value, {"0": (6, raw)}, **change)), message)


@pytest.mark.parametrize("count", [5, 7, -1, 1 << 62])
def test_legacy_storage_counts(saved, count):
    _, raw = crafted.numbers()
    value = {"a": tensor(storage_id(legacy=True), (6,), (1,))}
    refused(saved(legacy_file(value, {"0": (count, raw)})), "truncated or of another size")


@pytest.mark.parametrize("part", [("v", 4, 4), ("v", -1, 2), ("v", 0), "v"])
def test_legacy_views_out_of_bounds(saved, part):
    _, raw = crafted.numbers()
    value = {"a": tensor((*storage_id(), part), (2,), (1,))}
    refused(saved(legacy_file(value, {"0": (6, raw)})))


def test_compressed_members_are_refused(saved):
    value = {"a": tensor(storage_id(numel=1_000_000), (1_000_000,), (1,))}
    bomb = crafted.zip_file(value, {"0": b"\0" * 4_000_000}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    refused(saved(bomb), "compressed")


def test_declared_sizes_beyond_the_file(saved):
    data = bytearray(crafted.zip_file({"a": tensor(storage_id(), (6,), (1,))}, {"0": b"\0" * 24}))
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)  # directory line of data/0
    data[entry + 20:entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    refused(saved(bytes(data)), "declares more data")


def test_damaged_member_is_noticed(saved):
    values, raw = crafted.numbers()
    data = crafted.zip_file({"a": tensor(storage_id(), (6,), (1,))}, {"0": raw})
    damaged = data.replace(raw, (values + 1).tobytes())
    assert zlib.crc32(raw) != zlib.crc32((values + 1).tobytes())
    refused(saved(damaged), "CRC")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_no_checkpoint(saved, tmp_path):
    def archive(*names):
        path = tmp_path / "archive.pth"
        with zipfile.ZipFile(path, "w") as made:
            for name in names:
                made.writestr(name, pickled({}))
        return path

    refused(archive("readme.txt"), "no data.pkl")
    refused(archive("a/data.pkl", "b/data.pkl"), "no data.pkl")
    refused(archive("a/data.pkl", "a/data.pkl"), "two of one name")
    refused(archive("a/b/../data.pkl"), "no data.pkl")
    refused(archive("a/data.pkl", "a/constants.pkl"), "TorchScript")
    refused(saved(crafted.zip_file({}, {}, extra={"byteorder": b"middle"})), "byte order")


@pytest.mark.parametrize("head,message", [
    (b"", "empty"), (b"<!DOCTYPE html><html>", "web page"), (b"\n  <HTML>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "LFS"), (b"\x1f\x8b\x08", "compressed"),
    (b"hello, world", "text"), (b"\x89PNG\r\n", "picture"), (b"\x00\x01\x02", "unknown"),
    (b"\0" * 257 + b"ustar\0" + b"\0" * 300, "tar"),
])
def test_files_of_other_kinds(saved, head, message):
    refused(saved(head), message)


def test_missing_file_and_folder(tmp_path):
    assert refused(tmp_path / "absent.pth", "cannot be read").path == tmp_path / "absent.pth"
    assert refused(tmp_path, "cannot be read").path == tmp_path


def test_errors_name_the_file(saved):
    path = saved(b"hello")
    assert refused(path).path == path
    _, raw = crafted.numbers()
    path = saved(crafted.zip_file({"a": 1}, {"0": raw}))
    assert refused(path, "holds int where a tensor belongs").path == path


def test_jittor_checksum(saved, data):
    whole = bytearray((data / "jittor_dict.pkl").read_bytes())
    whole[150] ^= 1
    refused(saved(bytes(whole), "x.pkl"), "checksum")


def test_two_pickles_in_a_row(saved):
    refused(saved(pickled({}) + pickled({})), "followed by other data")


def test_file_is_let_go(saved):
    path = saved(pickled({"a": 1}))
    with TorchFile(path):
        pass
    refused(saved(b"\x80\x02junk"))
    path.unlink()  # fails on Windows if still mapped
    assert not path.exists()
