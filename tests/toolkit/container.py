"""Runs programs as a container does: PID 1, any user, of the root directory only what an image has, read-only.

Nothing of this is an image or a runtime: the same constraints come from a namespace of mounts and one of processes.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.toolkit.programs import find_program

#: A user that no list of users names, as OpenShift draws them, in the group of root; and the group of the volumes.
USER: Final = 1_000_730_000
VOLUME_GROUP: Final = 54_321

#: Takes an empty directory, the directories of the image, `--`, the directory of the volumes, `--`, and the command.
_START: Final = r"""
set -eu
root=$1; shift
mount -t tmpfs -o mode=755 tmpfs "$root"
show() { mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; mount -o remount,bind,ro "$root$1"; }
for path in /usr /lib /lib64 /bin /sbin; do
  if [ -L "$path" ]; then ln -s "$(readlink "$path")" "$root$path"; elif [ -d "$path" ]; then show "$path"; fi
done
while [ "$1" != -- ]; do show "$1"; shift; done; shift
mkdir -p "$root/proc" "$root/dev" "$root/etc" "$root/tmp" "$root/srv/calls" "$root/scratch" "$root/run/secrets/exporter"
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
for device in null zero random urandom; do
  touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$1/calls" "$root/srv/calls"
mount --bind "$1/scratch" "$root/scratch"
mount --bind "$1/secrets" "$root/run/secrets/exporter"; mount -o remount,bind,ro "$root/run/secrets/exporter"; shift 2
mount -o remount,ro "$root"
exec chroot "$root" setpriv --reuid "$USER_ID" --regid 0 --groups "$GROUP_ID" \
  --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


@dataclass(frozen=True)
class Container:
    """Starts programs of `environment`, with volumes at `/srv/calls` and `/scratch`, and secrets in
    `/run/secrets/exporter`.

    The volumes belong to root and to a group that the program is in, as Kubernetes mounts them with `fsGroup`.
    """

    environment: Path
    directory: Path

    @property
    def calls(self) -> Path:
        return self.directory / "calls"

    @property
    def scratch(self) -> Path:
        return self.directory / "scratch"

    @classmethod
    def prepare(cls, environment: Path, directory: Path, secrets: dict[str, str]) -> "Container":
        """Makes the volumes. Skips the test where this user may not mount anything."""
        unshare = find_program("unshare", "apt-get install util-linux")
        if os.getuid() != 0 or subprocess.run([unshare, "--mount", "--pid", "--fork", "true"], check=False).returncode:
            pytest.skip("only root, with the right to mount, can make a container")
        made = cls(environment, directory)
        for name, mode in (("root", 0o755), ("calls", 0o2775), ("scratch", 0o2777), ("secrets", 0o755)):
            path = directory / name
            path.mkdir()
            os.chown(path, 0, VOLUME_GROUP)
            path.chmod(mode)
        for name, text in secrets.items():
            file = directory / "secrets" / name
            file.write_text(text)
            os.chown(file, 0, VOLUME_GROUP)
            file.chmod(0o440)
        return made

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        """Starts a program, whose environment holds nothing but these variables, PATH and TMPDIR."""
        image = (sys.base_prefix, str(self.environment))
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _START, "sh"),
                *(str(self.directory / "root"), *image, "--", str(self.directory), "--", *command),
            ],
            env={
                "PATH": f"{self.environment}/bin:{os.environ['PATH']}",
                "TMPDIR": "/scratch",
                "USER_ID": str(USER),
                "GROUP_ID": str(VOLUME_GROUP),
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        with self.start(*command, **variables) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def children_of(pid: int) -> dict[int, str]:
    """Returns the state of each child of a process, such as `S`, or `Z` for one that nobody has waited for."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid:
            found[int(status.parent.name)] = state
    return found


def only_child(process: "subprocess.Popen[str]") -> int:
    """Returns the process that is PID 1 in the container which `process` has started."""
    (child,) = children_of(process.pid)
    return child
