"""`file.py:attr`: an object out of a user's own file, with the hash of the very bytes that were run."""

from __future__ import annotations

import difflib
import hashlib
import importlib.abc
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType

from harness.core.errors import HarnessError
from harness.data.display import escape

_PREFIX = "harness_file_"


def is_file_name(name: str) -> bool:
    """Whether a name means a file's attribute.

    >>> [is_file_name(name) for name in ("rouge_l", "hf:rouge", "own/score.py:score", "hf:own/score.py")]
    [False, False, True, False]
    """
    return name.partition(":")[0].endswith(".py")


def from_file(name: str, folder: Path | None) -> tuple[object, str]:
    """The attribute that `file.py:attr` names, and the sha256 of the file. HarnessError E-PLUGIN with the line."""
    file, attribute = _find(name, folder)
    content = _read(file)
    module = _run(file, content, name)
    if not attribute.isidentifier() or not hasattr(module, attribute):
        raise _no_attribute(file, attribute, module)
    return getattr(module, attribute), _sha256(content)


def digest_of(name: str, folder: Path | None) -> str:
    """The sha256 of the file that `file.py:attr` names; nothing is run."""
    return _sha256(_read(_find(name, folder)[0]))


class _Source(importlib.abc.InspectLoader):
    """Runs bytes that were read before: no bytecode cache can stand between the hash and what is run."""

    def __init__(self, file: Path, content: bytes) -> None:
        self._file = file
        self._content = content

    def get_source(self, fullname: str) -> str:
        """The text."""
        return importlib.util.decode_source(self._content)

    def get_code(self, fullname: str) -> CodeType:
        """The text, compiled under the file's own name."""
        return self.source_to_code(self._content, str(self._file))


def _find(name: str, folder: Path | None) -> tuple[Path, str]:
    """The task's folder comes first, then the current one."""
    spelled, _, attribute = name.partition(":")
    path = Path(spelled).expanduser()
    tried = list(dict.fromkeys([*([folder / path] if folder is not None else []), path]))
    for file in tried:
        if file.is_file():
            return file.resolve(), attribute
    raise HarnessError(
        f"there is no file {spelled!r} for {name!r}; tried {', '.join(repr(str(file)) for file in tried)}",
        fix="correct the path; it counts from the task's folder, then from the current one",
        code="E-PLUGIN",
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as err:
        raise HarnessError(
            f"{str(file)!r} cannot be read: {err.strerror}", fix="correct its permissions", code="E-PLUGIN"
        ) from err


def _run(file: Path, content: bytes, name: str) -> ModuleType:
    # Named by file and content: two versions of a file never share a module.
    module_name = f"{_PREFIX}{_sha256(str(file).encode() + content)[:16]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_loader(module_name, _Source(file, content), origin=str(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    # Dataclasses and pydantic look their own module up while it runs.
    sys.modules[module_name] = module
    try:
        with _neighbours(file.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as err:
        del sys.modules[module_name]
        raise _broken(file, name, err) from err
    return module


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """The modules beside a file can be imported while it is loaded; what is installed comes first.

    Two tasks may both have a `helpers.py`, so what was imported from the folder is forgotten afterwards. No bytecode is
    written there.
    """
    before, writes = set(sys.modules), sys.dont_write_bytecode
    sys.path.append(str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            place = getattr(sys.modules[name], "__file__", None)
            if not name.startswith(_PREFIX) and place and Path(place).is_relative_to(folder):
                del sys.modules[name]


def _broken(file: Path, name: str, err: BaseException) -> HarnessError:
    line = _line(file, err)
    where = f"{file.name}:{line}" if line else file.name
    missing = err.name if isinstance(err, ModuleNotFoundError) else None
    return HarnessError(
        f"{name!r} cannot be loaded: {where}: {one_line(err)}",
        fix=f"pip install {missing}, or correct the import" if missing else f"mend {str(file)!r}",
        code="E-PLUGIN",
    )


def one_line(err: BaseException) -> str:
    """An exception as one short line, safe to show."""
    said = err.msg if isinstance(err, SyntaxError) else str(err)
    return escape(f"{type(err).__name__}: {said}".partition("\n")[0], 300)


def _line(file: Path, err: BaseException) -> int | None:
    if isinstance(err, SyntaxError) and err.filename == str(file):
        return err.lineno
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if frame.filename == str(file)]
    return frames[-1].lineno if frames else None


def _no_attribute(file: Path, attribute: str, module: ModuleType) -> HarnessError:
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", module.__name__) == module.__name__
    ]
    close = difflib.get_close_matches(attribute, own, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"it has: {', '.join(own) or 'nothing'}"
    return HarnessError(
        f"{str(file)!r} has no {attribute!r}; {hint}",
        fix=f"write {file.name}:NAME with a name of that file",
        code="E-PLUGIN",
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
