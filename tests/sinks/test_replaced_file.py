"""What a new file takes over from the one it replaces, as the system tells: nobody sees more than before."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr

import streamh5
from tests.written import traces

ACL = "system.posix_acl_access"
WORKING = ("a.h5.partial", "a.h5.partial.journal")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def old_file(path: Path, mode: int) -> Path:
    path.write_bytes(b"old")
    path.chmod(mode)
    return path


WRITERS: dict[str, Callable[[Path], Any]] = {
    "to_fixed_h5": lambda path: streamh5.to_fixed_h5(path, "/x", da.ones(4), overwrite=True),
    "to_netcdf": lambda path: streamh5.to_netcdf(xr.Dataset({"x": ("d", np.ones(4))}), path),
}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o400, 0o4755, 0o2755, 0o6777, 0o1644])
@pytest.mark.parametrize("how", WRITERS)
def test_permissions_are_kept_and_setuid_bits_are_not(how: str, mode: int, tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.h5", mode)
    WRITERS[how](path)
    assert mode_of(path) == mode & 0o777
    with h5py.File(path) as read:
        np.testing.assert_array_equal(read["x"][()], np.ones(4))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o664, 0o440])
def test_working_files_show_no_more_than_the_file_shows(mode: int, umask: int, tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.h5", mode)
    before = os.umask(umask)
    try:
        with streamh5.File(path, "w", resume=True) as file:
            file.attrs["secret"] = "in the journal"
            for name in WORKING:
                assert mode_of(tmp_path / name) & 0o177 == mode & 0o177, name
            file.create_dataset("x", (4,), "i4", chunks=(1,))[...] = np.ones(4, "i4")
            file.session.wait()
            file.suspend()
        with streamh5.File(path, "w", resume=True) as file:  # with the rights that this needs
            for name in WORKING:
                assert mode_of(tmp_path / name) & 0o177 == mode & 0o177, name
            assert file.create_dataset("x", (4,), "i4", chunks=(1,)).is_stored((0,), (4,))
    finally:
        os.umask(before)
    assert mode_of(path) == mode
    assert traces(tmp_path) == ["a.h5"]


def test_working_files_are_private_from_their_first_moment(tmp_path: Path) -> None:
    """Whoever opens a file while it is created keeps it open, whatever its permissions are later."""
    path = old_file(tmp_path / "a.h5", 0o600)
    seen: list[tuple[str, int]] = []

    class System:
        def __getattr__(self, name: str) -> Any:
            real = getattr(os, name)

            def call(*arguments: Any) -> Any:
                result = real(*arguments)
                if name == "open" and arguments[1] & os.O_CREAT:
                    seen.append((Path(arguments[0]).name, stat.S_IMODE(os.fstat(result).st_mode)))
                return result

            return call

    from streamh5.sinks.local_file import LocalFileSink

    with streamh5.File(LocalFileSink(path, overwrite=True, system=System())):
        pass
    assert seen == [("a.h5.partial.journal", 0o600), ("a.h5.partial", 0o600)]


def test_new_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with streamh5.File(tmp_path / "a.h5"):
            assert [mode_of(tmp_path / name) for name in WORKING] == [0o640, 0o640]
    finally:
        os.umask(before)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")


@needs_root
def test_owner_and_group_are_kept(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.h5", 0o640)
    os.chown(path, 1234, 2345)
    with streamh5.File(path, "w") as file:
        for name in WORKING:
            status = (tmp_path / name).stat()
            assert (status.st_uid, status.st_gid, mode_of(tmp_path / name)) == (1234, 2345, 0o640)
        file["x"] = 1
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode_of(path)) == (1234, 2345, 0o640)


@needs_root
def test_group_that_cannot_be_kept_leaves_the_new_one_no_more_than_others(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.h5", 0o664)
    os.chown(path, 1234, 2345)

    class System:
        """As for somebody who may not give files away."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fchown(self, *_: int) -> None:
            raise PermissionError(errno.EPERM, "not permitted")

    from streamh5.sinks.local_file import LocalFileSink

    with streamh5.File(LocalFileSink(path, overwrite=True, system=System())) as file:
        file["x"] = 1
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert mode_of(path) == 0o644
    with h5py.File(path) as read:
        assert read["x"][()] == 1


def set_or_skip(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except (AttributeError, OSError) as error:
        pytest.skip(f"no extended attributes here: {error}")


def acl(*entries: tuple[int, int, int]) -> bytes:
    """POSIX ACL as the kernel has it: version 2, then (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xFFFFFFFF
NAMED_USER = acl((1, 6, NO_ID), (2, 4, 1234), (4, 0, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID))


def test_acl_and_user_attributes_are_kept(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.h5", 0o600)
    set_or_skip(path, "user.origin", b"beamline 7")
    set_or_skip(path, ACL, NAMED_USER)
    with streamh5.File(path, "w") as file:
        for name in WORKING:
            assert os.getxattr(tmp_path / name, ACL) == NAMED_USER
        file["x"] = 1
    assert os.getxattr(path, ACL) == NAMED_USER
    assert os.getxattr(path, "user.origin") == b"beamline 7"


def test_default_acl_of_the_directory_does_not_open_a_private_file(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.h5", 0o640)
    set_or_skip(tmp_path, "system.posix_acl_default", NAMED_USER)
    with streamh5.File(path, "w") as file:
        for name in WORKING:
            assert ACL not in os.listxattr(tmp_path / name)
        file["x"] = 1
    assert ACL not in os.listxattr(path)
    assert mode_of(path) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_references_keep_permissions(mode: int, tmp_path: Path) -> None:
    with streamh5.File(tmp_path / "a.h5") as file:
        file["x"] = np.arange(4)
    references = tmp_path / "a.json"
    for _ in range(2):
        streamh5.read_references(tmp_path / "a.h5").to_kerchunk(references, overwrite=True)
        references.chmod(mode)
    streamh5.read_references(tmp_path / "a.h5").to_kerchunk(references, overwrite=True)
    assert mode_of(references) == mode
    assert traces(tmp_path) == ["a.h5", "a.json"]
