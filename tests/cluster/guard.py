"""Runs a command that does not outlive the process that asked for it.

    python -I -S guard.py OWNER_PID COMMAND [ARGUMENT]...

However the owner ends, SIGKILL included, the command is killed; so it is when the guard itself is.
SIGTERM kills the command, too. The guard ends after the command, and with its exit code.

A pidfd and not the death signal watches the owner: that signal tells of the end of the thread that
started us, and tests start things in threads. Nothing but cheap modules: it starts in milliseconds.
"""

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    owner, *command = sys.argv[1:]
    try:
        owner_fd = os.pidfd_open(int(owner))
    except ProcessLookupError:
        return 1
    if os.getppid() != int(owner):
        return 1  # it died before us, and its number is somebody else's
    asked, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = start(command)
    child_fd = os.pidfd_open(child)
    poll = select.poll()
    for fd in (owner_fd, child_fd, asked):
        poll.register(fd, select.POLLIN)
    if child_fd not in {fd for fd, _ in poll.poll()}:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def start(command: list[str]) -> int:
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    # The guard has one thread: here the death signal means the guard.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)
    try:
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main())
