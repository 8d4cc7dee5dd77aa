"""A function in a fresh interpreter: its death is an error here, its memory is bounded, its result is data.

``parent: call_in_child ── stdin: the call ──▶ child: serve ── pipe: progress, result or errors ──▶ parent``

libhdf5 trusts the files that it reads. One that was made to harm, or that a disk has damaged, can end the
process that reads it, or keep it in a loop without end (`_end_when_stuck`). What the child sends back is not
trusted either: only plain values, numpy arrays, and records of ours are made of it, and exceptions.
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

_SHARE_OF_MEMORY = 0.75
_SECONDS_TO_TIDY = 10

MAX_SECONDS = 60.0
"""Of processor time, of all threads, in one call of libhdf5, during which no other Python code runs."""

_PROGRESS, _RESULT, _ERRORS = "progress", "result", "errors"

_PLAIN = {
    "builtins": {"set", "frozenset", "complex", "slice", "bytearray", "str", "bytes", "bool", "int", "float"},
    "datetime": {"datetime", "date", "timedelta", "timezone"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "numpy": {"ndarray", "dtype", "void"},
    "h5py.h5r": {"Reference", "RegionReference"},
}
"""What a result may be made of, besides numpy's arrays and scalars, and records of ours."""

_NUMPY = ("_reconstruct", "scalar", "_frombuffer")
"""Functions of numpy's core that make arrays and scalars."""

_ERRORS_MODULE = StreamH5Error.__module__
_MAX_CAUSES = 10

_Described: TypeAlias = tuple[str, str, tuple[Any, ...], dict[str, Any], list[str]]
"""An error: module and name of its class, arguments, facts, notes."""


def call_in_child(
    function: Callable[..., Any],
    *args: Any,
    died: Callable[[str], StreamH5Error],
    progress: bool | Callable[[int, int], object] | None = None,
    max_nbytes: int | None = None,
    max_seconds: float = MAX_SECONDS,
    **keywords: Any,
) -> Any:
    """Call a function of a module in a fresh interpreter and return its result.

    Parameters
    ----------
    function
        Of a module of ours.
    *args, **keywords
        What it is called with: values that can be pickled.
    died
        Makes the error for a child that ends without a word; it is given how: ``"SIGSEGV"``.
    progress
        A keyword of the function, if not None. A callable is called here, with what the child reports.
    max_nbytes
        Memory that the child may use; three quarters of the machine's by default.
    max_seconds
        Processor time after which a call of libhdf5 that has not come back is taken for a loop without end.

    Raises
    ------
    SpecError
        An argument that cannot be pickled.
    Exception
        What the function has raised, with its notes and causes; what `died` returns.
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
    """Start a child and send it a call; it is gone when the context ends."""
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
                # not closed after the call: its end tells the child that the parent has gone (`_end_with_parent`)
                stdin.write(len(call).to_bytes(8, "little") + call)
                stdin.flush()
            yield child, answers
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # it removes what it has begun
            with suppress(subprocess.TimeoutExpired):
                child.wait(_SECONDS_TO_TIDY)
            raise
        finally:
            child.kill()
            child.wait()
            with suppress(BrokenPipeError):
                stdin.close()


def _wait(answers: BinaryIO, progress: Callable[[int, int], object] | None) -> tuple[str, Any]:
    """Read what the child says until its last word; the kind is empty where there is none."""
    while True:
        try:
            kind, answer = _Results(answers).load()
        except EOFError:
            return "", None
        except Exception as error:  # noqa: BLE001 - bytes of a process that something hostile has run in
            message = f"a child process sent what is not a result: {error}"
            return _ERRORS, [(_ERRORS_MODULE, "StreamH5Error", (message,), {}, [])]
        if kind != _PROGRESS:
            return kind, answer
        if progress is not None:
            progress(*answer)


class _Results(pickle.Unpickler):
    """Makes results, and nothing that acts."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a class up that a result may be made of."""
        is_numpy = module.startswith(("numpy.core.", "numpy._core.")) and name in _NUMPY
        if is_numpy or name in _PLAIN.get(module, ()) or module.partition(".")[0] == "streamh5":
            found = super().find_class(module, name)
            if is_numpy or isinstance(found, type):  # a function of streamh5 would act
                return found
        raise pickle.UnpicklingError(f"{module}.{name}")


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    if status == -signal.SIGPROF:
        return "SIGPROF, for a call that did not come back,"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def serve(pipe: int, max_nbytes: int, max_seconds: float) -> None:
    """Be the child: read the call, make it, and send its result or its errors."""
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
        except BaseException as error:  # noqa: BLE001 - it is raised in the parent
            send(_ERRORS, _chain(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread still reads, and libhdf5 has nothing to save


def _read(nbytes: int) -> bytes:
    """Read from standard input, with nothing buffered that a thread then holds."""
    found = b""
    while len(found) < nbytes:
        part = os.read(0, nbytes - len(found))
        if not part:
            os._exit(1)
        found += part
    return found


def _bound_memory(nbytes: int) -> None:
    import resource

    with suppress(ValueError, OSError):  # a lower limit is set already
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, hard))


def _end_with_parent() -> None:
    """End when standard input does: the parent has been killed."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _end_when_stuck(max_seconds: float) -> None:
    """Put an alarm off for as long as Python code runs: h5py holds the interpreter's lock while libhdf5 works.

    The alarm counts the processor time of all threads together, and those that decode chunks need no lock.
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
    except Exception:  # noqa: BLE001 - whatever it is, it cannot be sent
        return False
    return True


def _raise(chain: list[_Described]) -> None:
    """Raise the first error, caused by the second, caused by the third."""
    errors = [_made(*described) for described in chain]
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    raise errors[0]


def _made(
    module: str, name: str, args: tuple[Any, ...], facts: dict[str, Any], notes: list[str]
) -> BaseException:
    """Make an error that was described; one of a class of others is a RuntimeError that names it."""
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
