"""What ``help``, Jupyter and editors show of functions that pass keywords on; IPython and jedi decide."""

from __future__ import annotations

import inspect
import pickle
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import streamh5
from streamh5.handles.dataset_keywords import DatasetKeywords, OtherKeywords

X = da.ones((4, 4))
DATASET = xr.Dataset()

METHODS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "x.to_fixed_h5": (X.to_fixed_h5, streamh5.to_fixed_h5),
    "ds.streamh5.to_netcdf": (DATASET.streamh5.to_netcdf, streamh5.to_netcdf),
    "ds.streamh5.create_space": (DATASET.streamh5.create_space, streamh5.create_space),
    "g.require_dataset": (streamh5.Group.require_dataset, streamh5.Group.create_dataset),
    "g.create_dataset_like": (streamh5.Group.create_dataset_like, streamh5.Group.create_dataset),
}
"""By their names in `NAMESPACE`: what passes keywords on, and the function that has them."""

OWN = {"self", "name", "other", "exact", "data"}
"""Parameters that only one of the two has; `data` is the object of the accessor."""

NAMESPACE = {"x": X, "ds": DATASET, "g": streamh5.Group, "streamh5": streamh5}


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: one
        for name, one in inspect.signature(function).parameters.items()
        if name not in OWN and one.kind != one.VAR_POSITIONAL
    }


@pytest.mark.parametrize("name", METHODS)
def test_method_has_all_keywords_of_its_function_with_types_and_defaults(name: str) -> None:
    method, function = METHODS[name]
    found, expected = _parameters(method), _parameters(function)
    assert found.keys() == expected.keys()
    for key, parameter in expected.items():
        assert found[key].annotation == parameter.annotation
        if key not in ("shape", "dtype"):  # `require_dataset` needs them
            assert found[key].default == parameter.default


@pytest.mark.parametrize("name", METHODS)
def test_docstring_of_a_method_says_something_of_each_parameter_and_is_in_order(name: str) -> None:
    method, _ = METHODS[name]
    text = inspect.getdoc(method)
    assert text is not None
    said = text.partition("Parameters\n----------\n")[2].partition("\n\nReturns")[0]
    entries = {key for line in re.findall(r"^\S.*$", said, re.M) for key in re.split(r", ", line)}
    names = {f"**{key}" if one.kind == one.VAR_KEYWORD else key for key, one in _parameters(method).items()}
    assert names <= entries
    assert len(re.findall("^Parameters$", text, re.M)) == len(re.findall("^Returns$", text, re.M)) == 1


def test_keywords_for_type_checkers_are_those_of_create_dataset() -> None:
    own = inspect.signature(streamh5.Group.create_dataset).parameters
    hints = typing.get_type_hints(DatasetKeywords)
    assert hints.keys() == own.keys() - {"self", "name"}
    assert typing.get_type_hints(OtherKeywords).keys() == hints.keys() - {"shape", "dtype"}
    for name, annotation in DatasetKeywords.__annotations__.items():
        assert annotation.__forward_arg__ == own[name].annotation


PUBLIC = [streamh5.File, streamh5.File.create_dataset, streamh5.convert, streamh5.to_fixed_h5, X.to_fixed_h5]


@pytest.mark.parametrize("function", PUBLIC, ids=lambda one: one.__name__)
def test_annotations_are_shown_without_quotes(function: Callable[..., Any]) -> None:
    shown = str(inspect.signature(function)).rpartition(" -> ")[0]
    assert "track_order: bool | None" in shown or "copy: bool | None" in shown
    assert not re.search(r": '", shown)


COMPLETED = {
    "x.to_fix": "to_fixed_h5",
    "x.to_fixed_h5('a.h5', '/x', compression_o": "compression_opts=",
    "streamh5.to_fixed_h5('a.h5', append_": "append_dim=",
    "ds.streamh5.to_netcdf('a.nc', unlim": "unlimited_dims=",
    "ds.streamh5.create_space('a.nc', unlim": "unlimited_dims=",
    "streamh5.File('a.h5', track_t": "track_times=",
    "g.create_dataset('a', write_e": "write_empty_chunks=",
    "g.require_dataset('a', write_e": "write_empty_chunks=",
    "g.create_dataset_like('a', write_e": "write_empty_chunks=",
    "streamh5.convert('a', 'b', storage_o": "storage_options=",
}


@pytest.mark.parametrize("typed", COMPLETED)
def test_jedi_completes_keywords_as_jupyter_asks_it_to(typed: str) -> None:
    jedi = pytest.importorskip("jedi")
    found = jedi.Interpreter(typed, [NAMESPACE]).complete()
    assert COMPLETED[typed] in [one.name for one in found]


@pytest.mark.parametrize("name", METHODS)
def test_inspector_of_ipython_shows_signature_and_text(name: str) -> None:
    oinspect = pytest.importorskip("IPython.core.oinspect")
    method, function = METHODS[name]
    info = oinspect.Inspector(theme_name="nocolor").info(method, name)
    for key in _parameters(function):
        assert re.search(rf"\b{key}\b", info["definition"]), key
    text = inspect.getdoc(method)
    assert text is not None
    assert info["docstring"].strip() == text.strip()


def test_errors_of_python_about_arguments_say_the_name_that_the_user_wrote(tmp_path: Path) -> None:
    x = da.ones(4)
    with pytest.raises(TypeError, match=r"^to_fixed_h5\(\) missing 1 required positional argument: 'name'$"):
        x.to_fixed_h5(tmp_path / "a.h5")
    with pytest.raises(TypeError, match=r"^to_fixed_h5\(\) takes 3 positional arguments but 4 were given$"):
        x.to_fixed_h5(tmp_path / "a.h5", "/x", 1)
    for data in (xr.Dataset(), xr.DataArray(np.ones(3), name="x"), xr.DataTree()):
        with pytest.raises(TypeError, match=r"^to_netcdf\(\) got multiple values for argument 'data'$"):
            data.streamh5.to_netcdf(tmp_path / "a.nc", data=data)
        with pytest.raises(TypeError, match=r"^create_space\(\) missing 1 required .*: 'path'$"):
            data.streamh5.create_space()


def test_method_of_arrays_is_pickled_by_its_name() -> None:
    method: Any = da.Array
    assert pickle.loads(pickle.dumps(method.to_fixed_h5)) is method.to_fixed_h5


def test_public_functions_and_methods_have_the_names_that_users_write() -> None:
    for name in streamh5.__all__:
        one = getattr(streamh5, name)
        if inspect.isfunction(one):
            assert inspect.unwrap(one).__qualname__ == name
        elif inspect.isclass(one) and one.__module__.startswith("streamh5"):
            for own, value in inspect.getmembers(one, inspect.isfunction):
                if not own.startswith("_") and value.__module__.startswith("streamh5"):
                    assert inspect.unwrap(value).__name__ == own, (name, own)
