"""The public names are imported when they are first used, and a command imports what it needs.

Each check is a process of its own: what is imported there, nobody else has imported.
"""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamh5
from streamh5 import errors
from tests.deadlock import DEADLOCK_SECONDS

PACKAGE = Path(streamh5.__file__).parent

HEAVY = ("dask", "pandas", "xarray", "zarr", "tqdm", "imagecodecs", "hdf5plugin")

NO_CODEC = ("numcodecs", "hdf5plugin", "html", "streamh5.references")
"""Modules that a file with gzip does not need: 60 to 130 ms together."""

UNNEEDED = (*HEAVY, "numpy.ma", "concurrent.futures", "streamh5.processes.child_process")
"""Modules that a command which reads only metadata does not need: 15 ms together."""

CLI = "import sys; from streamh5.cli.main import main\ntry: main(sys.argv[2:])\nexcept SystemExit: pass\n"


def loaded(code: str, *arguments: str, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of `names` a process has imported in the end."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nprint('\\n', *({names!r} & sys.modules.keys()))",
            "streamh5",
            *arguments,
        ],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=True,
    )
    assert not done.stderr
    return sorted(done.stdout.splitlines()[-1].split())


def run(code: str) -> str:
    """What a process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.h5"
    with h5py.File(path, "w", libver="latest") as file:
        values = np.arange(200.0).reshape(10, 20)
        file.create_dataset(
            "g/x", data=values, chunks=(5, 5), compression="gzip", shuffle=True, fletcher32=True
        )
        file["g/x"].attrs["unit"] = "K"  # of variable length: it is checked in the global heap
    return path


@pytest.mark.parametrize(
    "command",
    [
        "inspect",
        "inspect --json",
        "verify",
        "verify --no-data",
        "verify --no-data --no-h5py",
        "references",
    ],
)
def test_command_on_a_small_file_imports_no_heavy_package(command: str, small: Path) -> None:
    assert loaded(CLI, *command.split(), str(small)) == []


@pytest.mark.parametrize(
    "command", ["inspect", "inspect --json", "verify --no-data --no-h5py", "verify --no-data"]
)
def test_command_that_reads_only_metadata_imports_nothing_for_data(command: str, small: Path) -> None:
    names = UNNEEDED if command == "verify --no-data" else (*UNNEEDED, "h5py")
    assert loaded(CLI, *command.split(), str(small), names=names) == []


def test_copy_of_stored_chunks_imports_no_dask(small: Path) -> None:
    """Its import takes longer than the copy of 100 MB."""
    names = (*HEAVY, *NO_CODEC)
    assert loaded(CLI, "convert", str(small), str(small.with_name("copy.h5")), names=names) == []
    with h5py.File(small.with_name("copy.h5")) as file:
        assert file["g/x"].fletcher32


def test_other_chunks_with_gzip_import_neither_dask_nor_codecs(small: Path) -> None:
    with h5py.File(small, "w") as file:
        file.create_dataset("x", data=np.arange(200.0).reshape(10, 20), chunks=(1, 20), compression="gzip")
    copy = small.with_name("copy.h5")
    arguments = ("convert", "--chunks", "5,5", str(small), str(copy))
    assert loaded(CLI, *arguments, names=(*HEAVY, *NO_CODEC)) == []
    with h5py.File(copy) as file:
        assert file["x"].chunks == (5, 5)


def test_write_with_gzip_imports_no_codecs(tmp_path: Path) -> None:
    code = (
        "import sys, dask.array as da, streamh5\n"
        "da.zeros((40, 50), chunks=10).to_fixed_h5(sys.argv[2], '/x', compression='gzip', progress=False)"
    )
    assert loaded(code, str(tmp_path / "x.h5"), names=("numcodecs", "hdf5plugin")) == []


def test_many_checksums_import_the_fast_codec() -> None:
    code = "import sys; from streamh5.format.checksum import lookup3\nfor n in {}: lookup3(bytes(n))"
    few, many = code.format("[1 << 14, 1 << 14]"), code.format("[1 << 14, 1 << 14, 1]")
    assert loaded(few, names=NO_CODEC) == []
    assert loaded(many, names=("numcodecs",)) == ["numcodecs"]


@pytest.mark.parametrize("path", ["x", "virtual"])
def test_plugins_are_imported_where_the_library_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    import hdf5plugin

    monkeypatch.delenv("HDF5_PLUGIN_PATH", raising=False)  # which hdf5plugin has set
    source, copy = tmp_path / "in.h5", tmp_path / "out.h5"
    values = np.arange(200.0).reshape(10, 20)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(5, 20), **hdf5plugin.Bitshuffle())
    with h5py.File(source, "w") as file:
        if path == "x":
            file.create_dataset("x", data=values, chunks=(5, 20), **hdf5plugin.Bitshuffle())
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", values.shape)
            file.create_virtual_dataset(path, layout)
    arguments = ("convert", "--chunks", "5,5", "--compression", "gzip", str(source), str(copy))
    assert loaded(CLI, *arguments, names=("hdf5plugin",)) == ["hdf5plugin"]
    with h5py.File(copy) as file:
        assert np.array_equal(file[path][...], values)


def test_copy_of_stored_chunks_heeds_the_scheduler_of_the_environment(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER", "synchronous")
    copy = str(small.with_name("copy.h5"))
    assert loaded(CLI, "convert", str(small), copy, names=("dask",)) == ["dask"]


@pytest.mark.parametrize(
    "command",
    ["", "demo", "verify", "inspect", "salvage", "references", "convert", "filters", "abort-upload"],
)
def test_help_imports_not_even_numpy(command: str) -> None:
    names = (*HEAVY, "numpy", "numcodecs", "h5py", "streamh5.check.verify", "streamh5.handles.file")
    assert loaded(CLI, *command.split(), "--help", names=names) == []


def test_import_of_the_package_imports_not_even_numpy() -> None:
    assert loaded("import sys, streamh5", names=(*HEAVY, "numpy", "numcodecs", "h5py")) == []


def imports_for_type_checkers() -> dict[str, str]:
    """Home of each name of the block that only type checkers read."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    found = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in found for alias in node.names}


def test_names_of_the_package_are_the_same_for_people_interpreter_and_type_checkers() -> None:
    homes = {name: f"streamh5.{home}" for name, home in streamh5._HOME.items()}
    assert imports_for_type_checkers() == homes
    at_once = {"InterruptedWriteWarning", "StreamH5Error", "__version__", "errors"}
    assert set(streamh5.__all__) == homes.keys() | at_once
    assert list(streamh5.__all__) == sorted(streamh5.__all__)


@pytest.mark.parametrize("name", streamh5.__all__)
def test_public_name_is_there_first_of_all_in_a_new_process(name: str) -> None:
    assert (
        run(
            f"from streamh5 import {name} as found; print(found is getattr(__import__('streamh5'), {name!r}))"
        )
        == "True"
    )


def test_no_folder_of_the_package_has_the_name_of_something_public() -> None:
    units = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert units & set(streamh5.__all__) == {"errors"}


def test_star_import_and_dir_give_all_names() -> None:
    assert run("from streamh5 import *; import streamh5; print({*streamh5.__all__} <= {*dir()})") == "True"
    assert run("import streamh5; print({*streamh5.__all__} - {*dir(streamh5)})") == "set()"


def test_name_that_is_not_there_is_an_attribute_error_with_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="module 'streamh5' has no attribute 'to_fixed_h'"):
        _ = streamh5.to_fixed_h  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'to_fixed_h'"):
        from streamh5 import to_fixed_h  # type: ignore[attr-defined]  # noqa: F401
    done = subprocess.run(
        [sys.executable, "-c", "import streamh5; streamh5.to_fixed_h"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_SECONDS,
        check=False,
    )
    assert "Did you mean: 'to_fixed_h5'" in done.stderr


def test_help_shows_the_functions() -> None:
    shown = run("import streamh5; help(streamh5)")
    assert re.search(r"to_fixed_h5\(\s*path", shown)  # from Python 3.13 on with a line for each parameter
    assert "class File(" in shown


@pytest.mark.parametrize("name", streamh5.__all__)
def test_classes_and_functions_are_pickled_by_their_names(name: str) -> None:
    found = getattr(streamh5, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert pickle.loads(pickle.dumps(found)) is found


def test_errors_are_a_module() -> None:
    assert streamh5.errors is errors


CALLS = """
import sys, tempfile
import numpy as np, streamh5

with tempfile.TemporaryDirectory() as folder, streamh5.File(folder + "/out.h5") as file:
    before = sys.modules.keys() - {None}
    x = file.create_dataset("x", (None, 64), "f4", chunks=(4, 64), compression="gzip", fillvalue=0)
    x.append(np.ones((5, 64)))
    x.append(np.ma.masked_less(np.ones((1, 64)), 2))
    x.attrs["units"] = "m"
    x.attrs["levels"] = np.arange(3)
    file.create_group("g").create_dataset("names", data=["a", "b"])
    file.checkpoint()
print(*(sys.modules.keys() - before))
"""


def test_no_call_of_an_open_file_imports_a_module() -> None:
    """A Ctrl-C during an import can leave Python's import lock held, which other threads then wait for."""
    assert run(CALLS).split() == []


ORDERS = [
    "import streamh5; import dask.array; import xarray",
    "import dask.array; import streamh5; import xarray",
    "import xarray; import streamh5; import dask.array",
    "import streamh5; import xarray; import dask.array",
    "import dask.array, xarray; import streamh5",
    "from streamh5 import to_fixed_h5; import xarray",
    "from streamh5 import to_netcdf",
    "import streamh5; import dask.array.core; import xarray.core.dataset",
]


@pytest.mark.parametrize("imports", ORDERS)
def test_method_and_accessors_are_there_in_every_order_of_imports(imports: str) -> None:
    code = f"""
import sys
{imports}
import dask.array, xarray, importlib.machinery
array = dask.array.ones((4, 4), chunks=2)
print(array.to_fixed_h5.__name__, hasattr(xarray.DataTree(), "streamh5"))
print(*(type(one.streamh5).__name__ for one in (xarray.Dataset(), xarray.DataArray(1))))
for module in (dask.array, xarray):  # as if nobody had looked
    assert type(module.__loader__) is type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
ours = [finder for finder in sys.meta_path if type(finder).__module__.startswith("streamh5")]
print([spec for finder in ours for name in ("dask.array", "xarray") if (spec := finder.find_spec(name, None))])
"""
    expected = ["array_to_fixed_h5 True", "StreamH5Accessor StreamH5Accessor", "[]"]
    assert run(code).splitlines() == expected


@pytest.mark.parametrize(
    "again",
    [
        "importlib.reload(streamh5)",
        "[sys.modules.pop(name) for name in [*sys.modules] if name.startswith('streamh5')]; import streamh5",
    ],
)
def test_method_and_accessors_are_there_when_the_package_is_imported_twice_before(again: str) -> None:
    code = f"""
import importlib, sys, warnings
warnings.simplefilter("ignore")  # xarray's, that the accessor is registered twice
import streamh5
{again}
import dask.array, xarray
print(hasattr(dask.array.Array, "to_fixed_h5"), hasattr(xarray.Dataset, "streamh5"))
"""
    assert run(code) == "True True"


FAKE_XARRAY = """
import threading, time, __main__
__main__.begun.set()
time.sleep(0.3)
def register(name):
    return lambda accessor: print(name, accessor.__name__)
register_dataset_accessor = register_dataarray_accessor = register_datatree_accessor = register
"""


def test_accessors_are_registered_if_another_thread_is_importing_xarray(tmp_path: Path) -> None:
    (tmp_path / "xarray.py").write_text(FAKE_XARRAY)
    code = f"""
import sys, threading
sys.path.insert(0, {str(tmp_path)!r})
begun = threading.Event()
other = threading.Thread(target=__import__, args=("xarray",))
other.start()
begun.wait()
import streamh5
other.join()
"""
    assert run(code).splitlines() == ["streamh5 StreamH5Accessor"] * 3


def test_import_of_streamh5_succeeds_if_another_thread_fails_to_import_xarray(tmp_path: Path) -> None:
    (tmp_path / "xarray.py").write_text(
        FAKE_XARRAY.replace("def register", "raise ImportError\ndef register")
    )
    code = f"""
import sys, threading
sys.path.insert(0, {str(tmp_path)!r})
threading.excepthook = lambda error: None
begun = threading.Event()
threading.Thread(target=__import__, args=("xarray",)).start()
begun.wait()
import streamh5
print(streamh5.__version__)
"""
    assert run(code) == streamh5.__version__


FIRST_USES = """
import sys, threading
import streamh5
sys.setswitchinterval(1e-5)
names = ["Group", "inspect", "to_fixed_h5", "File", "read_references", "Datatype", "convert", "to_netcdf"]
start = threading.Barrier(len(names))
def use(name):
    start.wait()
    try:
        getattr(streamh5, name)
    except Exception as error:
        print(name, repr(error))
threads = [threading.Thread(target=use, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_names_are_first_used_in_many_threads_at_once() -> None:
    assert [run(FIRST_USES) for _ in range(3)] == [""] * 3


def test_import_in_another_thread_misses_no_finder() -> None:
    code = """
import sys, streamh5
finders = list(sys.meta_path)
search = iter(sys.meta_path)  # as the import of another thread iterates
asked = [next(search)]
import dask.array, xarray
asked += search
print([finder for finder in finders if finder not in asked])
"""
    assert run(code) == "[]"


def test_method_of_an_array_that_is_made_later_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = f"""
import streamh5
import dask.array as da
da.arange(12, chunks=5).to_fixed_h5({str(path)!r}, "/x", progress=False)
"""
    assert run(code) == ""
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][()], np.arange(12))


def test_search_for_a_package_shows_its_own_facts() -> None:
    code = """
import importlib.util, streamh5
spec = importlib.util.find_spec("xarray")
print(spec.name, spec.loader.is_package("xarray"), spec.origin == spec.loader.get_filename("xarray"))
"""
    assert run(code) == "xarray True True"


def test_import_that_fails_is_an_error_each_time_and_nothing_is_added(tmp_path: Path) -> None:
    (tmp_path / "xarray.py").write_text("raise ImportError('not today')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import streamh5
for _ in range(2):
    try:
        import xarray
    except ImportError as error:
        print(error)
"""
    assert run(code).splitlines() == ["not today"] * 2
