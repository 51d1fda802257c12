"""Simulates a disk that fails, fills up, dies and loses its power.

The files are real ones, in a directory of the test. The calls of `os` that change them pass through here first, where
they may fail. Every fsync is noted, so that a power cut can take away what was never fsynced: a file's content, or a
name in a directory.
"""

import errno
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from unittest.mock import patch

ERRNOS: Final = (errno.ENOSPC, errno.EIO)
#: Calls that change a directory or a file. pathlib and the exporter reach them through the module `os`.
CALLS: Final = ("link", "rename", "replace", "unlink", "mkdir", "rmdir", "ftruncate", "fsync", "write")


class ProcessDeath(BaseException):
    """Raised in a dead process at every call of the disk, until it has unwound."""


class _File:
    """Holds the durable content of a file; `None` means that not even its emptiness is durable."""

    def __init__(self) -> None:
        self.content: bytes | None = None


class _Directory:
    """Holds the durable names of a directory."""

    def __init__(self) -> None:
        self.entries: dict[str, _Node] = {}


_Node: TypeAlias = "_File | _Directory"


class SimulatedDisk:
    """Simulates the disk below `root`, for one process after another.

    `operations` counts the calls of the process. At the operation `dies_at` the process is killed, before or after the
    operation is done. From `fails_from` on, an operation fails with the likelihood `fail_rate`. `on_link` is called
    before each hard link is made, with the file and the name that it gets.
    """

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root = root
        self.on_link: Callable[[Path, Path], None] = lambda _file, _name: None
        self._chance = chance
        self._durable = _Directory()
        self._nodes: dict[int, _Node] = {root.stat().st_ino: self._durable}
        self._real = {name: getattr(os, name) for name in CALLS}
        self.boot()

    def boot(self) -> None:
        """Begins a new process."""
        self.operations = 0
        self.dies_at: int | None = None
        self.fails_from = 0
        self.fail_rate = 0.0
        self.free_bytes = 1 << 40
        self.is_dead = False

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts this disk in the place of the calls of `os` while the block runs."""
        with ExitStack() as stack:
            for name in CALLS:
                stack.enter_context(patch.object(os, name, self._guarded(name)))
            stack.enter_context(patch.object(os, "statvfs", self._statvfs))
            yield

    def die(self) -> None:
        """Lets the process change nothing from now on."""
        self.is_dead = True

    def step(self) -> bool:
        """Begins one operation; returns whether it must fail half-way. Raises `ProcessDeath` where the process dies."""
        if self.is_dead:
            raise ProcessDeath
        self.operations += 1
        if self.operations == self.dies_at and self._chance.random() < 0.5:
            self.die()
            raise ProcessDeath
        return bool(self.fail_rate) and self.operations >= self.fails_from and self._chance.random() < self.fail_rate

    def step_done(self) -> None:
        """Ends the operation; the process may die before it learns that."""
        if self.operations == self.dies_at:
            self.die()
            raise ProcessDeath

    def _guarded(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            fails = self.step()
            if fails:
                number = self._chance.choice(ERRNOS)
                if name == "write":
                    real(args[0], memoryview(args[1])[: len(args[1]) // 2])
                elif self._chance.random() < 0.5:
                    # The operation is done although it fails.
                    self._perform(name, real, args, kwargs)
                raise OSError(number, os.strerror(number))
            result = self._perform(name, real, args, kwargs)
            self.step_done()
            return result

        return call

    def _perform(self, name: str, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if name == "fsync":
            self._note(args[0])
            return None
        if name == "link":
            self.on_link(Path(args[0]), Path(args[1]))
        victim = self._last_name(Path(args[-1])) if name in ("unlink", "replace", "rmdir") else None
        result = real(*args, **kwargs)
        if victim is not None:
            # Another file may soon have its number.
            self._nodes.pop(victim, None)
        return result

    def _last_name(self, path: Path) -> int | None:
        """Returns the inode number of a directory, or of a file that has no other name; `None` for any other."""
        with suppress(FileNotFoundError):
            found = path.lstat()
            return found.st_ino if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode) else None
        return None

    def offloaded(self, func: Callable[..., Any]) -> None:
        """Counts an open or a write of aiofiles, which goes past `os`, before it is done. It may raise for it."""
        if not isinstance(func, partial) or func.func.__name__ not in ("open", "write"):
            return
        if self.step():
            number = self._chance.choice(ERRNOS)
            if func.func.__name__ == "write":
                func.func(func.args[0][: len(func.args[0]) // 2])
            raise OSError(number, os.strerror(number))

    def _statvfs(self, path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 1, 1, 1, self.free_bytes, 1, 1, 1, 0, 255))

    # What is durable, and what a power cut leaves.

    def _note(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            directory = self._node(found.st_ino, is_directory=True)
            assert isinstance(directory, _Directory)
            directory.entries = dict(self._listed(Path(f"/proc/self/fd/{descriptor}")))
        else:
            file = self._node(found.st_ino, is_directory=False)
            assert isinstance(file, _File)
            file.content = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def _node(self, number: int, *, is_directory: bool) -> _Node:
        return self._nodes.setdefault(number, _Directory() if is_directory else _File())

    def _listed(self, path: Path) -> Iterator[tuple[str, _Node]]:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                yield entry.name, self._node(entry.inode(), is_directory=entry.is_dir())

    def durable_bytes(self, path: Path) -> bytes | None:
        """Returns what a power cut now would surely leave of the file `path`; `None` if it might be gone, or torn."""
        node: _Node | None = self._durable
        for name in path.relative_to(self.root).parts:
            node = node.entries.get(name) if isinstance(node, _Directory) else None
        return node.content if isinstance(node, _File) else None

    def cut_power(self) -> None:
        """Leaves what is durable, and some of the rest."""
        tree = self._surviving(self.root, self._durable)
        shutil.rmtree(self.root)
        _write_tree(self.root, tree)
        self._nodes = {self.root.stat().st_ino: self._durable}
        self._settle(self.root, self._durable)

    def _surviving(self, path: Path | None, durable: _Directory) -> "_Tree":
        live = dict(self._listed(path)) if path is not None and path.is_dir() else {}
        tree: _Tree = {}
        for name in sorted(live.keys() | durable.entries.keys()):
            now, then = live.get(name), durable.entries.get(name)
            node = now if now is then else self._chance.choice((now, then))
            below = path / name if path is not None and node is now else None
            if isinstance(node, _Directory):
                tree[name] = self._surviving(below, node)
            elif isinstance(node, _File):
                tree[name] = self._content(below, node)
        return tree

    def _content(self, path: Path | None, file: _File) -> bytes:
        durable = file.content
        written = path.read_bytes() if path is not None else durable
        if written is None or written == durable:
            return durable or b""
        torn = written[: self._chance.randint(0, len(written))]
        return self._chance.choice((durable or b"", torn, written))

    def _settle(self, path: Path, directory: _Directory) -> None:
        """Notes, after a power cut, that everything that is left is durable."""
        directory.entries = dict(self._listed(path))
        for name, node in directory.entries.items():
            if isinstance(node, _Directory):
                self._settle(path / name, node)
            else:
                node.content = (path / name).read_bytes()


_Tree: TypeAlias = "dict[str, _Tree | bytes]"


def _write_tree(path: Path, tree: _Tree) -> None:
    path.mkdir(mode=0o700)
    for name, node in tree.items():
        if isinstance(node, dict):
            _write_tree(path / name, node)
        else:
            (path / name).write_bytes(node)
            (path / name).chmod(0o600)
