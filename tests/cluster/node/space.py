"""The first process of a node: namespaces of its own for processes, mounts and the network.

    python -I -S space.py STATUS_FILE VAR_FOLDER

Whatever runs below it, shims and containers included, ends with it, and with the last process the
kernel takes back mounts, network devices, iptables and sysctls: nothing needs to be undone, also
not after SIGKILL. Its number goes to STATUS_FILE when the space is ready.

The node writes below /var and /run as it would anywhere: /var is an overlay whose upper half lies
in VAR_FOLDER, /run is empty at first.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_REC, MS_SLAVE, MS_SHARED = 0x4000, 1 << 19, 1 << 20
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    status_file, var = sys.argv[1:]
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET), "unshare")
    ready, tell = os.pipe()
    init = os.fork()
    if not init:
        os.close(ready)
        return first(tell, var)
    os.close(tell)
    if os.read(ready, 1):
        new = Path(f"{status_file}.new")
        new.write_text(str(init), encoding="ascii")
        new.rename(status_file)
    return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])


def first(tell: int, var: str) -> int:
    """Process 1: mounts, and then buries the dead."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    # Ours do not leave; and kubelet wants mounts that its containers see, too.
    mount("none", "/", "", MS_REC | MS_SLAVE)
    mount("none", "/", "", MS_REC | MS_SHARED)
    mount("proc", "/proc", "proc")
    mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for name in ("upper", "work"):
        Path(var, name).mkdir(mode=0o755, parents=True)
    layers = f"lowerdir=/var,upperdir={var}/upper,workdir={var}/work"
    # Nobody wants it after the end: the disk need not be waited for.
    mount("overlay", "/var", "overlay", data=f"{layers},volatile")
    os.write(tell, b"1")
    os.close(tell)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    done = libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode())
    check(done, f"mount {kind or 'propagation'} at {target}")


def check(result: int, what: str) -> None:
    if result < 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    sys.exit(main())
