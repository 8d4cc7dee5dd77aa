"""Call a function in a child process: a crash becomes an error, memory and time are bounded.

::

    parent: call_in_child ── stdin: the call ─────────────────────▶ child: serve
            _wait         ◀── pipe: progress ..., result or errors ──

libhdf5 trusts the files that it reads. A file that is malicious, or damaged by a disk, can crash the process that reads
it or keep it in an endless loop (`_end_when_stuck`). The answers of the child are not trusted either: `_Results` makes
only plain values, numpy arrays, instances of streamh5's classes and exceptions from them.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from streamh5.arguments.memory_size import memory_nbytes
from streamh5.errors import SpecError, StreamH5Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_START = (
    "import sys; sys.path[:] = {path!r}; "
    "from streamh5.processes.child_process import serve; serve({pipe}, {nbytes}, {seconds})"
)

# The rest is for the parent and for the pages of the file that the system caches.
_SHARE_OF_MEMORY = 0.75
# After Ctrl-C, until the child is killed: it deletes the file that it writes.
_SECONDS_TO_TIDY = 10

MAX_SECONDS = 60.0
"""Most processor time, of all threads, of one call of libhdf5, during which no other Python code runs."""

_PROGRESS, _RESULT, _ERRORS = "progress", "result", "errors"

_PLAIN = {
    "builtins": {"set", "frozenset", "complex", "slice", "bytearray", "str", "bytes", "bool", "int", "float"},
    "datetime": {"datetime", "date", "timedelta", "timezone"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "numpy": {"ndarray", "dtype", "void"},
    "h5py.h5r": {"Reference", "RegionReference"},
}
"""Classes of a result, by module, besides streamh5's own classes and numpy's arrays and scalars."""

_NUMPY = ("_reconstruct", "scalar", "_frombuffer")
"""Functions of numpy's core from which pickled arrays and scalars are made."""

_ERRORS_MODULE = StreamH5Error.__module__
_MAX_CAUSES = 10  # ends a circle of causes

_Described: TypeAlias = tuple[str, str, tuple[Any, ...], dict[str, Any], list[str]]
"""An error as data: module and name of its class, arguments, facts, notes."""


def call_in_child(
    function: Callable[..., Any],
    *args: Any,
    died: Callable[[str], StreamH5Error],
    progress: bool | Callable[[int, int], object] | None = None,
    max_nbytes: int | None = None,
    max_seconds: float = MAX_SECONDS,
    **keywords: Any,
) -> Any:
    """Call a function in a new interpreter and return its result.

    Parameters
    ----------
    function
        A function of a module of streamh5.
    *args, **keywords
        Its arguments, which must be picklable.
    died
        Returns the error for a child that ends without an answer; it is given the reason, such as ``"SIGSEGV"``.
    progress
        A keyword of the function, if not None. A callable is called in this process with what the child reports.
    max_nbytes
        Memory that the child may use; three quarters of the machine's by default.
    max_seconds
        Processor time after which a call of libhdf5 that has not returned is taken for an endless loop.

    Raises
    ------
    SpecError
        An argument cannot be pickled.
    Exception
        The exception of the function, with its notes and causes, or the error that `died` returns.
    """
    report = progress if callable(progress) else None
    if progress is not None and report is None:
        keywords["progress"] = progress
    try:
        call = pickle.dumps((function.__module__, function.__qualname__, args, keywords, report is not None))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise SpecError(f"safe=True: an argument cannot be sent to a child process: {error}") from error
    limit = max_nbytes or int(_SHARE_OF_MEMORY * memory_nbytes())
    with _child(call, limit, max_seconds) as (child, answers):
        kind, answer = _wait(answers, report)
        child.wait()
    if kind == _RESULT:
        return answer
    if kind == _ERRORS and answer:
        _raise(answer)
    raise died(_how_it_ended(child.returncode))


@contextmanager
def _child(
    call: bytes, max_nbytes: int, max_seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """Start a child and send it a call; the child is killed when the context ends."""
    from_child, to_parent = os.pipe()
    with os.fdopen(from_child, "rb") as answers:
        try:
            start = _START.format(path=sys.path, pipe=to_parent, nbytes=max_nbytes, seconds=max_seconds)
            child = subprocess.Popen(
                [sys.executable, "-c", start], stdin=subprocess.PIPE, pass_fds=(to_parent,)
            )
        finally:
            os.close(to_parent)
        stdin = cast("IO[bytes]", child.stdin)
        try:
            with suppress(BrokenPipeError):
                # stays open: its end of file tells the child that the parent has gone (`_end_with_parent`)
                stdin.write(len(call).to_bytes(8, "little") + call)
                stdin.flush()
            yield child, answers
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # lets it clean up
            with suppress(subprocess.TimeoutExpired):
                child.wait(_SECONDS_TO_TIDY)
            raise
        finally:
            child.kill()
            child.wait()
            with suppress(BrokenPipeError):
                stdin.close()


def _wait(answers: BinaryIO, progress: Callable[[int, int], object] | None) -> tuple[str, Any]:
    """Return the kind and content of the child's last answer; the kind is empty if it ended without one."""
    while True:
        try:
            kind, answer = _Results(answers).load()
        except EOFError:
            return "", None
        except Exception as error:  # noqa: BLE001 - the bytes may come from hostile code
            message = f"a child process sent something that is not a result: {error}"
            return _ERRORS, [(_ERRORS_MODULE, "StreamH5Error", (message,), {}, [])]
        if kind != _PROGRESS:
            return kind, answer
        if progress is not None:
            progress(*answer)


class _Results(pickle.Unpickler):
    """An unpickler that makes values and calls no other code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class, if a result may contain its instances."""
        is_numpy = module.startswith(("numpy.core.", "numpy._core.")) and name in _NUMPY
        if is_numpy or name in _PLAIN.get(module, ()) or module.partition(".")[0] == "streamh5":
            found = super().find_class(module, name)
            if is_numpy or isinstance(found, type):  # not a function of streamh5: unpickling would call it
                return found
        raise pickle.UnpicklingError(f"{module}.{name}")


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    if status == -signal.SIGPROF:
        return "SIGPROF, for a call that did not return,"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def serve(pipe: int, max_nbytes: int, max_seconds: float) -> None:
    """Run in the child: read the call, make it, and send its result or its errors."""
    _bound_memory(max_nbytes)
    nbytes = int.from_bytes(_read(8), "little")
    module, name, args, keywords, reports = pickle.loads(_read(nbytes))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_end_when_stuck, args=(max_seconds,), daemon=True).start()
    with os.fdopen(pipe, "wb") as answers:
        lock = threading.Lock()

        def send(kind: str, answer: Any) -> None:
            with lock:
                answers.write(pickle.dumps((kind, answer)))
                answers.flush()

        if reports:
            keywords["progress"] = lambda *numbers: send(_PROGRESS, numbers)
        try:
            send(_RESULT, getattr(importlib.import_module(module), name)(*args, **keywords))
        except BaseException as error:  # noqa: BLE001 - raised again in the parent
            send(_ERRORS, _chain(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread is still reading, and libhdf5 has nothing to save


def _read(nbytes: int) -> bytes:
    """Read from standard input without a buffer, whose lock `_end_with_parent` would hold."""
    found = b""
    while len(found) < nbytes:
        part = os.read(0, nbytes - len(found))
        if not part:
            os._exit(1)
        found += part
    return found


def _bound_memory(nbytes: int) -> None:
    import resource

    with suppress(ValueError, OSError):  # a lower limit is already set
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, hard))


def _end_with_parent() -> None:
    """End at the end of standard input: the parent has been killed."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _end_when_stuck(max_seconds: float) -> None:
    """Postpone an alarm as long as Python code runs: h5py holds the interpreter's lock while libhdf5 works.

    The alarm counts the processor time of all threads together, and threads that decode chunks do not need the lock:
    hence the division by the number of processors.
    """
    while True:
        signal.setitimer(signal.ITIMER_PROF, max_seconds)
        time.sleep(max_seconds / (4 * (os.cpu_count() or 1)))


def _chain(error: BaseException | None) -> list[_Described]:
    """Describe an error and its causes."""
    chain: list[_Described] = []
    while error is not None and len(chain) < _MAX_CAUSES:
        facts = getattr(error, "facts", {})
        kept = {name: value for name, value in facts.items() if _is_portable(value)}
        args = error.args if _is_portable(error.args) else (str(error),)
        notes = [str(note) for note in getattr(error, "__notes__", ())]
        chain.append((type(error).__module__, type(error).__qualname__, args, kept, notes))
        error = error.__cause__
    return chain


def _is_portable(value: Any) -> bool:
    try:
        _Results(io.BytesIO(pickle.dumps(value))).load()
    except Exception:  # noqa: BLE001 - pickling may raise anything
        return False
    return True


def _raise(chain: list[_Described]) -> None:
    """Raise the first error with the second as its cause, and so on."""
    errors = [_made(*described) for described in chain]
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    raise errors[0]


def _made(
    module: str, name: str, args: tuple[Any, ...], facts: dict[str, Any], notes: list[str]
) -> BaseException:
    """Make an error from its description; a class of another package becomes a RuntimeError that names it."""
    is_known = module in ("builtins", _ERRORS_MODULE)
    kind = getattr(importlib.import_module(module), name, None) if is_known else None
    if isinstance(kind, type) and issubclass(kind, BaseException):
        error: BaseException = kind(*args)
    else:
        error = RuntimeError(f"{module}.{name}: {', '.join(map(str, args))}")
    if isinstance(error, StreamH5Error):
        error.facts.update(facts)
    for note in notes:
        error.add_note(note)
    return error
