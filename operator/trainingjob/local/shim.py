"""Stands between the runner and a pod's command, as containerd's shim does.

    python -I -S shim.py EXIT_FILE GRACE_SECONDS RUNNER_PID COMMAND [ARGUMENT]...

Starts the command in a session of its own, waits for it, writes EXIT_FILE, and kills whatever
the command has left behind, also what has changed its session. SIGTERM asks the command to stop
and kills it after the grace period; SIGHUP, and the death of the runner, kill it at once. Ends
with the command's exit code.

Nothing but the standard library's cheapest modules: it has to start within milliseconds.
"""

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM}

prctl = ctypes.CDLL(None).prctl


def main() -> int:
    exit_file, grace, runner, *command = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != int(runner):
        return 1  # the runner died before prctl: nothing has begun
    started = time.time()
    pid = start(command)
    code, stopped = wait(pid, int(grace))
    record = {
        "exitCode": code,
        "signal": code - 128 if code > 128 else None,
        "startedAt": started,
        "finishedAt": time.time(),
        # We were asked to end it, so what it answered is no failure of its own.
        "stopped": stopped,
    }
    try:
        write(exit_file, record)
    except OSError as error:
        print(f"trainingjob: cannot write {exit_file}: {error}", file=sys.stderr)  # noqa: T201
    kill_children()
    return code


def start(command: list[str]) -> int:
    """Fork and exec; a command that cannot be run exits with 126 or 127, as in a shell."""
    shim = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should somebody kill the shim
    if os.getppid() != shim:
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = "not found" if missing else error.strerror
        os.write(2, f'exec: "{command[0]}": {why}\n'.encode(errors="replace"))
        os._exit(127 if missing else 126)


def wait(pid: int, grace: int) -> tuple[int, bool]:
    """The command's exit code (128 + N for signal N), and whether we were asked to stop it."""
    stopped = False
    while True:
        number = signal.sigwait(SIGNALS)
        if number == signal.SIGCHLD:
            code = reap(pid)
            if code is not None:
                return code, stopped
            continue
        if number != signal.SIGALRM:
            stopped = True
        if number == signal.SIGTERM:
            signal.alarm(grace)
        os.kill(pid, signal.SIGTERM if number == signal.SIGTERM else signal.SIGKILL)


def reap(pid: int) -> "int | None":
    """Collect the dead; the exit code of ``pid`` if it is among them."""
    while True:
        try:
            dead, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if dead == 0:
            return None
        if dead == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def kill_children() -> None:
    """Kill what is left, generation by generation: orphans become children of the subreaper.

    Only children of our own are ever signalled. Their ids cannot have passed to somebody else,
    because nobody but us can reap them.
    """
    while True:
        for child in children():
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            dead, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if dead == 0:
            time.sleep(0.002)


def children() -> list[int]:
    """Ids of our children, zombies included."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == me]


def parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name, in brackets, may itself contain anything.
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def write(path: str, record: "dict[str, float | int | None]") -> None:
    aside = f"{path}.new"
    with open(aside, "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


if __name__ == "__main__":
    sys.exit(main())
