"""Keywords and words that nobody knows: what was meant is named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5.errors import FilterError, KeywordError, SpecError


def _create(path: Path, **keywords: Any) -> None:
    with streamh5.File(path) as file:
        file.create_dataset("x", (4,), **keywords)


CALLS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "create_dataset": (
        lambda path: _create(path, chunk=(2,)),
        "create_dataset has no keyword chunk; did you mean 'chunks'",
    ),
    "File": (
        lambda path: streamh5.File(path, track_ordr=True),  # type: ignore[call-arg]
        "File has no keyword track_ordr; did you mean 'track_order'",
    ),
    "to_fixed_h5": (
        lambda path: da.ones(4).to_fixed_h5(path, "/x", compresion="gzip"),
        "to_fixed_h5 has no keyword compresion; did you mean 'compression'",
    ),
    "to_netcdf": (
        lambda path: xr.Dataset({"x": ("t", np.arange(3))}).streamh5.to_netcdf(path, unlimited_dim=["t"]),
        "to_netcdf has no keyword unlimited_dim; did you mean 'unlimited_dims'",
    ),
    "from_zarr": (
        lambda path: streamh5.from_zarr(path, path, chunk=(2,)),  # type: ignore[call-arg]
        "from_zarr has no keyword chunk; did you mean 'chunks'",
    ),
    "convert": (
        lambda path: streamh5.convert(path, path, compresion="gzip"),  # type: ignore[call-arg]
        "convert has no keyword compresion; did you mean 'compression'",
    ),
}


def _netcdf(path: Path, **keywords: Any) -> Any:
    return xr.Dataset({"temperature": ("t", np.arange(3))}).streamh5.to_netcdf(path, **keywords)


def _array(path: Path, **keywords: Any) -> Any:
    return da.ones(4).to_fixed_h5(path, "/x", **keywords)


def _lookup(path: Path) -> Any:
    with streamh5.File(path) as file:
        file.create_group("run/temperature")
        return file["run/temprature"]


def _delete(path: Path) -> Any:
    with streamh5.File(path) as file:
        file.create_group("run/temperature")
        del file["run/temprature"]


MEANT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "complevel": (lambda path: _array(path, complevel=4), "did you mean 'compression_opts'"),
    "zlib": (lambda path: _array(path, zlib=True), "did you mean 'compression'"),
    "compress": (lambda path: _array(path, compress=True), "did you mean 'compression'"),
    "gzip": (lambda path: _array(path, gzip=True), "no keyword gzip; did you mean compression='gzip'"),
    "nothing similar": (lambda path: _array(path, qqq=1), "it has append_dim, attrs, chunks, compression, "),
    "chunk": (lambda path: _array(path, chunk=(2,)), "did you mean 'chunks'"),
    "chunksizes": (lambda path: _array(path, chunksizes=(2,)), "did you mean 'chunks'"),
    "checksum": (lambda path: _array(path, checksum=True), "did you mean 'fletcher32'"),
    "n_workers": (lambda path: _array(path, n_workers=2), "did you mean 'num_workers'"),
    "dtype": (lambda path: _array(path, dtype="f4"), "no keyword dtype: the file has the dtype of the array"),
    "netcdf chunks": (lambda path: _netcdf(path, chunks=(2,)), "by variable: encoding="),
    "key of an encoding": (
        lambda path: _netcdf(path, encoding={"temperature": {"level": 4}}),
        "did you mean 'complevel'",
    ),
    "variable of an encoding": (
        lambda path: _netcdf(path, encoding={"temprature": {"zlib": True}}),
        "did you mean 'temperature'",
    ),
    "name in attrs": (
        lambda path: streamh5.to_fixed_h5(path, {"/xyz": np.ones(3)}, attrs={"/xzy": {}}),
        "did you mean '/xyz'",
    ),
    "sync": (lambda path: _array(path, sync="cloze"), "did you mean 'close'"),
    "libver": (lambda path: _array(path, libver="1.10"), "did you mean 'v110'"),
    "h5py's name": (
        lambda path: streamh5.File(path).require_dataset("x", (4,), "f4", rdcc_w0=1),  # type: ignore[call-arg]
        "writes a chunk once it is complete",
    ),
    "path": (_lookup, "did you mean 'temperature'"),
    "path that is deleted": (_delete, "did you mean 'temperature'"),
}


@pytest.mark.parametrize("name", MEANT)
@pytest.mark.filterwarnings("ignore::streamh5.InterruptedWriteWarning")
def test_name_from_another_library_or_misspelt_name_is_refused_with_what_was_meant(
    name: str, tmp_path: Path
) -> None:
    call, message = MEANT[name]
    with pytest.raises((SpecError, KeyError), match=message):
        call(tmp_path / "a.h5")


def test_keyword_of_a_dataset_that_is_there_is_checked_too(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file.require_dataset("x", (4,), "f4")
        with pytest.raises(KeywordError, match="require_dataset has no keyword chunk; did you mean 'chunks'"):
            file.require_dataset("x", (4,), "f4", chunk=(2,))  # type: ignore[call-arg]


def _keyword_of(function: Callable[..., Any]) -> str:
    """Return the longest name of an optional parameter."""
    parameters = inspect.signature(function).parameters.values()
    return max((one.name for one in parameters if one.default is not one.empty), key=len, default="")


def _keyword_functions() -> list[str]:
    own = {name: one for name, one in _functions().items() if one.__module__.startswith("streamh5")}
    return [name for name, one in own.items() if name not in INTERNAL and len(_keyword_of(one)) > 3]


@pytest.mark.parametrize("name", CALLS)
def test_unknown_keyword_is_refused_with_the_one_that_was_meant(name: str, tmp_path: Path) -> None:
    call, message = CALLS[name]
    with pytest.raises(KeywordError, match=message) as caught:
        call(tmp_path / "a.h5")
    assert isinstance(caught.value, TypeError)


def test_keywords_of_dask_are_taken(tmp_path: Path) -> None:
    keywords: dict[str, Any] = {"scheduler": "threads", "num_workers": 1, "optimize_graph": True}
    x = da.arange(4, chunks=2)
    x.to_fixed_h5(tmp_path / "a.h5", "/x", **keywords)
    xr.Dataset({"x": ("t", x)}).streamh5.to_netcdf(tmp_path / "a.nc", **keywords)
    for name in ("a.h5", "a.nc"):
        with h5py.File(tmp_path / name) as file:
            assert file["x"][()].tolist() == [0, 1, 2, 3]


def test_keyword_like_none_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(KeywordError, match=r"keyword qqq; it has alloc_time"),
    ):
        file.create_dataset("x", (4,), qqq=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("word", "meant"), [("gizp", "gzip"), ("GZIP", "gzip"), ("ZLIB", "zlib"), ("zst", "zstd")]
)
def test_compression_that_is_misspelt_is_refused_with_the_one_that_was_meant(
    word: str, meant: str, tmp_path: Path
) -> None:
    with (
        streamh5.File(tmp_path / "a.h5") as file,
        pytest.raises(FilterError, match=f"did you mean '{meant}'"),
    ):
        file.create_dataset("x", (4,), chunks=(2,), compression=word)


def test_signatures_stay_those_of_the_functions() -> None:
    assert "compression" in inspect.signature(streamh5.File.create_dataset).parameters
    assert "compression" in inspect.signature(streamh5.convert).parameters


def _functions() -> dict[str, Callable[..., Any]]:
    """Every public function, and every public method of a public class."""
    found: dict[str, Callable[..., Any]] = {}
    for name in streamh5.__all__:
        one = getattr(streamh5, name)
        if inspect.isclass(one):
            methods = inspect.getmembers(one, inspect.isfunction)
            found |= {f"{name}.{key}": method for key, method in methods if not key.startswith("_")}
        elif callable(one):
            found[name] = one
    return found | {"File": streamh5.File.__init__}


INTERNAL = {
    "Dataset.write_direct_chunk",
    "File.add_dataset",
    "PartWriter.begin",
    "PartWriter.write_direct_chunk",
    "native_complex_dtype",
}
"""Takes plans, not what a person asks; has checks of its own, for each chunk; has one parameter."""

CHECKED = {
    "bool": "yes",
    "bool | None": "no",
    "int": 1.5,
    "int | None": "2",
    "bool | Callable[[int, int], object] | None": "yes",
}
NAMED = {"sync": "often", "keep": True, "libver": "1.10", "resume_key": 5, "url": 5}


def _wrong() -> list[tuple[str, str, Any]]:
    return [
        (name, key, NAMED[key] if key in NAMED else CHECKED[str(parameter.annotation)])
        for name, function in _functions().items()
        if name not in INTERNAL
        for key, parameter in inspect.signature(function).parameters.items()
        if key in NAMED or str(parameter.annotation) in CHECKED
    ]


@pytest.mark.parametrize(("name", "keyword", "value"), _wrong())
def test_flag_number_or_choice_that_is_none_is_refused_before_any_work(
    name: str, keyword: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function = _functions()[name]
    needed = [
        key
        for key, one in inspect.signature(function).parameters.items()
        if one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD and key != keyword
    ]
    with pytest.raises(SpecError, match=rf"^{keyword} must be .* not {value!r}(; did you mean .*)?$"):
        function(*[object() for _ in needed], **{keyword: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", _keyword_functions())
def test_misspelt_keyword_of_any_public_function_is_refused_with_the_right_one(name: str) -> None:
    function = _functions()[name]
    longest = _keyword_of(function)
    arrays = ("/x", np.ones(3)) if name == "to_fixed_h5" else ()
    with pytest.raises(KeywordError, match=f"did you mean '{longest}'"):
        function(object(), *arrays, **{longest[:-2] + longest[-1]: None})


def test_flag_that_is_none_is_off_where_it_is_in_h5py(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", track_order=None) as file:
        file.create_dataset("x", (4,), "i4", chunks=(2,), track_order=None, shuffle=None, fletcher32=None)
    da.ones(4).to_fixed_h5(tmp_path / "b.h5", "/x", track_order=None, shuffle=None, fletcher32=None)
    with h5py.File(tmp_path / "c.h5", "w", track_order=None) as file:
        file.create_dataset("x", (4,), "i4", chunks=(2,), track_order=None, shuffle=None, fletcher32=None)
    for name in ("a.h5", "b.h5", "c.h5"):
        with h5py.File(tmp_path / name) as found:
            assert found.id.get_create_plist().get_link_creation_order() == 0
            assert found["x"].id.get_create_plist().get_attr_creation_order() == 0
            assert found["x"].fletcher32 is False


@pytest.mark.parametrize("flag", [True, 1, np.True_, np.int64(1)])
def test_flag_of_python_and_numpy_is_taken(flag: Any, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5", track_order=flag) as file:
        file.create_dataset("x", (4,), "i4", chunks=(2,), shuffle=flag, fletcher32=flag)
    with h5py.File(tmp_path / "a.h5") as found:
        assert (found["x"].shuffle, found["x"].fletcher32) == (True, True)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda path, **wrong: da.ones(4).to_fixed_h5(path, "/x", **wrong), "^{key} must be"),
        (lambda path, **wrong: da.ones(4).to_fixed_h5(path, "/x", compute=False, **wrong), "^{key} must be"),
        (
            xr.Dataset({"x": ("t", [1])}).streamh5.to_netcdf,
            "^{key} must be",
        ),
    ],
)
@pytest.mark.parametrize("wrong", [{"sync": "often"}, {"libver": 110}, {"resume": "no"}, {"progress": "yes"}])
def test_methods_of_other_objects_check_their_keywords(
    call: Callable[..., Any], match: str, wrong: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=match.format(key=next(iter(wrong)))):
        call(tmp_path / "a.h5", **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["none", "None", " no ", "off", ""])
def test_compression_that_is_a_word_for_none_is_refused_with_none(word: str, tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=r"did you mean None\?"):
        da.ones(4).to_fixed_h5(tmp_path / "a.h5", "/x", compression=word)
    with pytest.raises(FilterError, match=r"did you mean None\?"):
        xr.Dataset({"x": ("t", [1])}).streamh5.to_netcdf(tmp_path / "a.nc", compression=word)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["zlib", "shuffle", "fletcher32", "contiguous"])
def test_flag_of_an_encoding_that_is_text_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"/x: {key} must be True or False, not 'no'"):
        xr.Dataset({"x": ("t", [1])}).streamh5.to_netcdf(tmp_path / "a.nc", encoding={"x": {key: "no"}})
    assert list(tmp_path.iterdir()) == []


def test_compression_that_there_is_not_is_refused_where_there_is_nothing_to_compress(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file, pytest.raises(FilterError, match="did you mean 'gzip'"):
        file.create_dataset("x", data=5, compression="gizp")


def test_filter_of_another_program_is_taken_where_there_is_nothing_to_compress(tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        for name, shape in (("scalar", ()), ("chunked", (4,))):
            file.create_dataset(name, shape, "i4", compression=40_000, allow_unknown_filter=True)
        with pytest.raises(FilterError, match="filter number 40000"):
            file.create_dataset("x", (), "i4", compression=40_000, allow_unknown_filter=False)
    with h5py.File(tmp_path / "a.h5") as found:
        assert found["scalar"][()] == 0
        assert found["chunked"].id.get_create_plist().get_filter(0)[0] == 40_000
