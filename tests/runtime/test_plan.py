"""The plan for machines of every kind, from facts alone."""

from __future__ import annotations

import subprocess

import pytest

from restore_cli.errors import DeviceError, ExitStatus, UsageError
from restore_cli.runtime import paths
from restore_cli.runtime.cuda import Cuda
from restore_cli.runtime.environment import Link, Plan, plan
from restore_cli.runtime.facts import Folder, Python
from restore_cli.runtime.onednn import OneDnn

GPU = Cuda(nvcc="/usr/local/cuda-12.2/bin/nvcc", version=(12, 2), devices=2, cudnn=8,
           includes=("/usr/local/cuda-12.2/include",), libraries=("/usr/local/cuda-12.2/lib64",))
GPU13 = Cuda(nvcc="/usr/local/cuda-13.0/bin/nvcc", version=(13, 0), devices=1, cudnn=9,
             includes=("/usr/local/cuda-13.0/include",), libraries=("/usr/local/cuda-13.0/lib64",))


def test_healthy_linux(machine):
    made = plan(machine())
    assert (made.device, made.threads, made.onednn, made.warnings) == ("cpu", 4, True, ())
    assert made.base == "/home/ann/.cache/restore/kernels"
    assert made.folders == (made.base,)
    mkl = f"{made.base}/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp"
    assert Link(f"{mkl}/lib/libmkldnn.so", "/opt/venv/lib/libdnnl.so.2.6") in made.links
    assert Link(f"{mkl}/include/oneapi/dnnl/dnnl.hpp",
                "/opt/venv/include/oneapi/dnnl/dnnl.hpp") in made.links
    assert made.environment["HOME"] == made.base
    assert made.environment["nvcc_path"] == ""  # Jittor looks for CUDA, and fetches one, otherwise
    assert made.environment["gdb_path"] == ""
    assert made.environment["cc_path"] == "/usr/bin/g++"
    assert made.environment["JITTOR_HOME"] is None
    assert made.lasting == {}


def test_plan_survives_json(machine):
    made = plan(machine(cuda=GPU13, environ={"RESTORE_DEVICE": "cuda"}, temp="/tmp/ö"))
    assert Plan.from_json(made.to_json()) == made


def test_plan_touches_nothing(machine, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("the plan touched the machine")

    facts = machine(cuda=GPU13)
    for name in ("os.stat", "os.listdir", "os.makedirs", "builtins.open", "subprocess.Popen"):
        monkeypatch.setattr(name, forbidden)
    assert plan(facts).device == "cuda:0"


# Folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["/home/jörg", "/home/李明", "/home/ann lee", "/home/o'brien",
                                  "/home/" + "long/" * 30, '/home/"x"', "/home/a$b"])
def test_awkward_home_is_reached_by_a_plain_short_link(machine, home):
    made = plan(machine(cache=f"{home}/.cache/restore"))
    assert paths.fits(made.base)
    assert made.base.startswith("/var/tmp/restore-1000/")
    assert made.links[0] == Link(made.base, f"{home}/.cache/restore/kernels")
    assert f"{home}/.cache/restore/kernels" in made.folders
    assert "/var/tmp/restore-1000" in made.folders
    for link in made.links[1:]:
        assert link.path.startswith(made.base)
    assert made.environment["HOME"] == made.base


def test_machines_of_two_kinds_share_a_home(machine):
    offline = OneDnn("2.2.0", archive="/x.tgz")
    bases = {plan(machine()).base, plan(machine(machine="aarch64", onednn=offline)).base}
    assert bases == {"/home/ann/.cache/restore/kernels", "/home/ann/.cache/restore/kernels-aarch64"}


def test_two_awkward_homes_get_two_links(machine):
    bases = {plan(machine(cache=f"/home/{name}/restore")).base for name in ("jörg", "jürg")}
    assert len(bases) == 2


def test_read_only_home(machine):
    made = plan(machine(folders={"/home/ann/.cache/restore/kernels": None}))
    assert made.base.startswith("/var/tmp/restore-1000/")
    assert made.folders == ("/var/tmp/restore-1000", made.base)
    assert all(link.target != "/home/ann/.cache/restore/kernels" for link in made.links)


def test_folder_others_may_write_is_not_trusted(machine):
    facts = machine()
    key = paths.short_hash(facts.cache + "/kernels")
    planted = {f"/var/tmp/restore-1000/{key}": Folder(exists=True, writable=True, private=False),
               "/home/ann/.cache/restore/kernels": None}
    assert plan(machine(folders=planted)).base == f"/tmp/restore-1000/{key}"


def test_full_home_uses_another_disk(machine):
    full = Folder(exists=False, writable=True, free=1 << 20)
    made = plan(machine(folders={"/home/ann/.cache/restore/kernels": full}))
    assert made.base.startswith("/var/tmp/")
    kept = Folder(exists=True, writable=True, free=1 << 20)
    made = plan(machine(folders={"/home/ann/.cache/restore/kernels": kept}))
    assert made.base == "/home/ann/.cache/restore/kernels"


def test_little_room_everywhere_is_said(machine):
    facts = machine()
    full = dict.fromkeys(facts.folders, Folder(exists=False, writable=True, free=1 << 20))
    made = plan(machine(folders=full))
    assert len(made.warnings) == 1 and "300 MB" in made.warnings[0]


def test_no_folder_at_all(machine):
    facts = machine()
    with pytest.raises(DeviceError) as error:
        plan(machine(folders=dict.fromkeys(facts.folders)))
    assert error.value.status == ExitStatus.DEVICE and "RESTORE_CACHE" in error.value.hint


def test_named_cache(machine):
    assert str(paths.cache_dir({"RESTORE_CACHE": "/data/cache"})) == "/data/cache"
    made = plan(machine(cache="/data/cache", environ={"RESTORE_CACHE": "/data/cache"}))
    assert made.base == "/data/cache/kernels"


def test_temp_folder_with_a_bad_name_is_replaced(machine):
    made = plan(machine(temp="/tmp/jörg"))
    assert made.lasting == {"TMPDIR": f"{made.base}/tmp"}
    assert made.lasting["TMPDIR"] in made.folders


@pytest.mark.parametrize("user", ["jörg", "Ann Lee", "O'Brien", "a-user-with-a-very-long-name" * 3])
def test_windows_users(machine, user):
    cache = f"C:\\Users\\{user}\\AppData\\Local\\restore\\Cache"
    made = plan(machine("Windows", cache=cache, user=user))
    assert made.base.startswith("C:\\ProgramData\\restore-")
    assert paths.fits(made.base, "Windows") and len(made.base) <= paths.WINDOWS_LIMIT
    assert made.lasting == {"TEMP": f"{made.base}\\tmp", "TMP": f"{made.base}\\tmp",
                            "VSLANG": "1033"}
    assert made.environment["USERPROFILE"] == made.base
    assert made.environment["cc_path"] == "cl.exe"  # its folder has a space
    assert made.wrapper is None and made.scripts == {}
    # Links need rights on Windows: kernels must not depend on them.
    assert all(link.target != cache + "\\kernels" for link in made.links)


def test_windows_paths_stay_below_260_characters(machine):
    made = plan(machine("Windows", cache="C:\\" + "x" * 200))
    longest = "\\".join(["x" * paths.WINDOWS_LIMIT, ".cache", "jittor", "jt1.3.11", "cl",
                         "py3.11.12", "windowsn", "processor" + "x" * 8, "7c3f", made.cache_name,
                         "jit", "x" * 90 + "___hash_" + "f" * 16 + "_op.obj.key"])
    assert len(longest) < 260


def test_windows_onednn(machine):
    made = plan(machine("Windows"))
    targets = {link.path.rpartition("\\mkl\\")[2]: link.target for link in made.links}
    assert targets["dnnl_win_2.2.0_cpu_vcomp\\lib\\dnnl.lib"].endswith("dnnl.lib")
    assert "dnnl_win_2.2.0_cpu_vcomp\\bin\\dnnl.dll" in targets
    assert "dnnl_win_2.2.0_cpu_vcomp\\include\\oneapi\\dnnl\\dnnl.hpp" in targets


# Compiler, headers, packages --------------------------------------------------------------------


@pytest.mark.parametrize("system, distribution, command", [
    ("Linux", {"ID": "debian"}, "sudo apt install g++"),
    ("Linux", {"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "sudo apt install g++"),
    ("Linux", {"ID": "fedora"}, "sudo dnf install gcc-c++"),
    ("Linux", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "sudo dnf install gcc-c++"),
    ("Linux", {"ID": "arch"}, "sudo pacman -S gcc"),
    ("Linux", {"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "sudo zypper install gcc-c++"),
    ("Linux", {}, "Install g++"),
    ("Darwin", {}, "xcode-select --install"),
    ("Windows", {}, "VisualStudio.2022.BuildTools"),
])
def test_no_compiler(machine, system, distribution, command):
    with pytest.raises(DeviceError) as error:
        plan(machine(system, compiler=None, distribution=distribution))
    assert error.value.status == ExitStatus.DEVICE
    assert command in error.value.hint


def test_broken_compiler_is_named(machine):
    with pytest.raises(DeviceError, match="/usr/bin/g\\+\\+ does not run"):
        plan(machine(compiler=None, compiler_problem="the compiler /usr/bin/g++ does not run"))


def test_no_python_headers(machine):
    python = Python("/usr/bin/python3.11", (3, 11, 2), None, ".so")
    with pytest.raises(DeviceError, match="Python.h") as error:
        plan(machine(python=python, distribution={"ID": "ubuntu"}))
    assert error.value.hint == "Type: sudo apt install python3.11-dev"


@pytest.mark.parametrize("version", ["2.0.0", "2.3.1"])
def test_numpy_2_is_refused(machine, version):
    with pytest.raises(DeviceError, match="wrong numbers"):
        plan(machine(numpy_version=version))


@pytest.mark.parametrize("changes, said", [
    ({"jittor": None}, "not installed"),
    ({"jittor_version": "1.3.9.14"}, "is needed"),
    ({"jittor": "/home/o'brien/jittor"}, "quotation mark"),
])
def test_unusable_jittor(machine, changes, said):
    with pytest.raises(DeviceError, match=said):
        plan(machine(**changes))


def test_missing_onednn_is_never_silent(machine):
    with pytest.raises(DeviceError) as error:
        plan(machine(onednn=None))
    assert "pip install onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1" \
        in error.value.hint
    with pytest.raises(DeviceError, match="oneDNN") as error:
        plan(machine(onednn=None, machine="aarch64"))
    assert "jittor_offline" in error.value.hint
    made = plan(machine("Darwin"))
    assert not made.onednn and made.environment["use_mkl"] == "0"
    assert len(made.warnings) == 1 and "fifty times longer" in made.warnings[0]


def test_aarch64_unpacks_the_offline_package(machine):
    archive = "/opt/venv/jittor_offline/dnnl_lnx_2.2.0_cpu_gomp_aarch64.tgz"
    made = plan(machine(machine="aarch64", onednn=OneDnn("2.2.0", archive=archive)))
    assert made.onednn and made.links == ()
    assert made.archive == (
        archive, f"{made.base}/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp_aarch64")


@pytest.mark.parametrize("kind, library", [("arm64", "libmkldnn.dylib"),
                                           ("x86_64", "libmkldnn.dylib")])
def test_macos_with_ones_own_onednn(machine, kind, library):
    own = OneDnn("in /opt/dnnl", "/opt/dnnl/lib/libdnnl.2.dylib",
                 (("dnnl.hpp", "/opt/dnnl/include/dnnl.hpp"),))
    made = plan(machine("Darwin", machine=kind, onednn=own))
    assert made.onednn and not made.warnings and made.wrapper is None
    assert any(link.path.endswith(f"{kind}/lib/{library}") for link in made.links)


def test_macos_without_openmp(machine):
    with pytest.raises(DeviceError) as error:
        plan(machine("Darwin", openmp=False))
    assert "brew install libomp" in error.value.hint


def test_install_path_with_a_space_is_linked(machine):
    made = plan(machine(jittor="/opt/my venv/lib/jittor"))
    assert Link(made.jittor_path, "/opt/my venv/lib/jittor") in made.links
    assert paths.fits(made.jittor_path) and made.jittor_path.endswith("/jittor")
    assert plan(machine()).jittor_path is None


@pytest.mark.parametrize("headers", ["/root/.pyenv/versions/3.11.7/include/python3.11",
                                     "/opt/my python/include", "/opt/o'brien/include"])
def test_config_script_answers_for_any_python(machine, tmp_path, headers):
    # In a virtual environment over pyenv there is no python3.11-config, or a system one of
    # another Python answers.
    python = Python("/x/bin/python", (3, 11, 7), headers, ".cpython-311-x86_64-linux-gnu.so")
    made = plan(machine(python=python))
    path = made.environment["python_config_path"]
    script = tmp_path / "python-config"
    script.write_text(made.scripts[path])
    script.chmod(0o755)

    def ask(option):
        return subprocess.run([str(script), option], capture_output=True, text=True, check=True,
                              timeout=10).stdout.strip()

    assert headers in ask("--includes") and ask("--includes").count("-I") == 2
    assert ("\"" in ask("--includes")) == (" " in headers or "'" in headers)
    assert ask("--extension-suffix") == ".cpython-311-x86_64-linux-gnu.so"


def test_cache_name_follows_the_instruction_set(machine):
    assert plan(machine(cpu="avx2")).cache_name != plan(machine(cpu="avx2 avx512f")).cache_name
    assert plan(machine()).cache_name == plan(machine(cores=64, memory=1)).cache_name


@pytest.mark.parametrize("changes", [
    {"jittor": "/elsewhere/jittor"}, {"cpu": "other"}, {"cache": "/data/restore"},
    {"python": Python("/x", (3, 11, 8), "/usr/include/python3.11", ".so")},
])
def test_fingerprint_follows_what_jittor_compiles_from(machine, changes):
    assert plan(machine()).fingerprint != plan(machine(**changes)).fingerprint


def test_fingerprint_does_not_follow_threads(machine):
    assert plan(machine(), threads=1).fingerprint == plan(machine(), threads=3).fingerprint


# Threads ----------------------------------------------------------------------------------------


def test_threads(machine):
    assert plan(machine(), threads=2).environment["OMP_NUM_THREADS"] == "2"
    assert plan(machine()).environment["OMP_WAIT_POLICY"] == "PASSIVE"
    chosen = machine(environ={"OMP_WAIT_POLICY": "ACTIVE"})
    assert plan(chosen).environment["OMP_WAIT_POLICY"] == "ACTIVE"
    assert plan(machine(environ={"OMP_NUM_THREADS": "3"})).threads == 3
    assert plan(machine(environ={"OMP_NUM_THREADS": "nonsense"})).threads == 4
    assert plan(machine(environ={"OMP_NUM_THREADS": "3"}), threads=1).threads == 1


def test_threads_never_exceed_the_processors(machine):
    made = plan(machine(), threads=16)
    assert made.threads == 4 and "16 threads" in made.warnings[0]
    assert plan(machine(environ={"OMP_NUM_THREADS": "64"})).threads == 4


# CUDA -------------------------------------------------------------------------------------------


def test_cuda_found(machine):
    made = plan(machine(cuda=GPU))
    assert made.device == "cuda:0" and made.toolkit is None and not made.warnings
    assert made.environment["nvcc_path"] == GPU.nvcc
    assert made.environment["use_cutt"] == made.environment["use_cutlass"] == "0"
    assert made.cache_name != plan(machine()).cache_name
    assert made.lasting["CUDA_VISIBLE_DEVICES"] == "0"


def test_cuda_is_left_alone_on_cpu(machine):
    made = plan(machine(cuda=GPU), "cpu")
    assert made.device == "cpu" and made.environment["nvcc_path"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in made.lasting
    assert plan(machine(cuda=GPU, environ={"RESTORE_DEVICE": "cpu"})).device == "cpu"


def test_one_gpu_of_several(machine):
    assert plan(machine(cuda=GPU), "cuda:1").lasting["CUDA_VISIBLE_DEVICES"] == "1"
    made = plan(machine(cuda=GPU, environ={"CUDA_VISIBLE_DEVICES": "5,7"}), "cuda:1")
    assert made.lasting["CUDA_VISIBLE_DEVICES"] == "7"
    with pytest.raises(DeviceError, match="2 GPU"):
        plan(machine(cuda=GPU), "cuda:2")


def test_new_cuda_gets_a_private_toolkit(machine):
    made = plan(machine(cuda=GPU13), "cuda")
    assert made.toolkit.startswith(f"{made.base}/cuda-13.0-")
    assert made.environment["nvcc_path"] == f"{made.toolkit}/bin/nvcc"
    assert made.environment["cc_flags"] == \
        "-DcomputeMode=integrated -DclockRate=multiProcessorCount"
    assert "std=c++17" not in made.environment["cc_flags"]


@pytest.mark.parametrize("broken", [
    Cuda(nvcc="/usr/local/bin/nvcc", version=(13, 0), problem="no NVIDIA driver is installed"),
    Cuda(nvcc="/usr/local/bin/nvcc", version=(13, 0), devices=1, missing=("cudnn",)),
    Cuda(nvcc="/usr/local/bin/nvcc", version=(12, 2), devices=0),
])
def test_broken_cuda(machine, broken):
    made = plan(machine(cuda=broken))
    assert made.device == "cpu" and made.environment["nvcc_path"] == ""
    assert len(made.warnings) == 1 and "CUDA is installed but cannot be used" in made.warnings[0]
    assert plan(machine(cuda=broken), "cpu").warnings == ()
    for wanted in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError) as error:
            plan(machine(cuda=broken), wanted)
        assert error.value.status == ExitStatus.DEVICE


def test_no_cuda_is_no_news(machine):
    assert plan(machine()).warnings == ()
    toolkit = Cuda(nvcc="/usr/local/bin/nvcc", problem="there is no GPU", hardware=False)
    assert plan(machine(cuda=toolkit)).device == "cpu"
    assert plan(machine(cuda=toolkit)).warnings == ()
    with pytest.raises(DeviceError, match="there is no GPU"):
        plan(machine(cuda=toolkit), "cuda")
    with pytest.raises(DeviceError, match="nvcc was not found"):
        plan(machine(), "cuda")
    with pytest.raises(DeviceError, match="not supported on Darwin"):
        plan(machine("Darwin"), "cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cuda:0,1"])
def test_device_names(machine, name):
    with pytest.raises(UsageError):
        plan(machine(), name)
    with pytest.raises(UsageError):
        plan(machine(environ={"RESTORE_DEVICE": name}))
