"""The checkpoint reader gives honest files bit-exactly."""

from __future__ import annotations

import crafted
import numpy as np
import pytest
from crafted import Build, Call, Name, Persistent, legacy_file, storage_id, tensor

from restore_cli.weights.torch_file import TorchFile, shape_of


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
