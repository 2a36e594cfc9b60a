"""Who failed first, and of what, by what the processes left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainingjob.api.payload import StageError
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.gang import blame
from trainingjob.runtime.gang.processes import Exit, Outcome

PLAIN = """some log line
Traceback (most recent call last):
  File "/tmp/x/train.py", line 12, in <module>
    main()
  File "/tmp/x/train.py", line 7, in main
    raise ValueError("bad value")
ValueError: bad value
"""
IN_A_LIBRARY = """Traceback (most recent call last):
  File "/tmp/x/train.py", line 12, in <module>
    pq.read_table("nothing")
  File "/venv/pyarrow/parquet/core.py", line 1899, in read_table
    raise FileNotFoundError(path)
FileNotFoundError: nothing
"""
CHAINED = """Traceback (most recent call last):
  File "/tmp/x/train.py", line 3, in f
    1/0
    ~^~
ZeroDivisionError: division by zero

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/tmp/x/train.py", line 5, in f
    raise RuntimeError("outer") from e
RuntimeError: outer
"""
# torch marks the lines once there is a process group.
PEER = """[rank1]: Traceback (most recent call last):
[rank1]:   File "/tmp/x/train.py", line 6, in <module>
[rank1]:     dist.all_reduce(x)
[rank1]: RuntimeError: [/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1
"""
RESET = PEER.replace("Connection closed by peer", "Read error: Connection reset by peer")
MARKED = """[rank0]: Traceback (most recent call last):
[rank1]: Traceback (most recent call last):
[rank0]:   File "/tmp/x/train.py", line 5, in <module>
[rank1]:   File "/tmp/x/train.py", line 6, in <module>
[rank0]:     raise ValueError("bad value")
[rank1]:     dist.all_reduce(x)
[rank1]: RuntimeError: [/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1
[rank0]: ValueError: bad value
"""
TORCHRUN = """Traceback (most recent call last):
  File "/venv/bin/torchrun", line 10, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-24_09:23:10
  rank      : 1 (local_rank: 1)
  exitcode  : -15 (pid: 24557)  (SIGTERM)
  error_file: <N/A>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-24_09:23:10
  rank      : RANK (local_rank: 0)
  exitcode  : CODE (pid: 24556)
  error_file: <N/A>
============================================================
"""


def torchrun(rank: int, code: int) -> str:
    return TORCHRUN.replace("RANK", str(rank)).replace("CODE", str(code))


def exception(text: str) -> str:
    return PLAIN.replace("ValueError: bad value", text)


def memory_error(kind: str) -> str:
    return exception(f"{kind}: no room")


# rank, code, stderr -> reason, words, rank, exit code, signal
USER = {
    "an exception names itself and its line": (
        (0, 1, PLAIN),
        ("ScriptFailed", "rank 0 exited with code 1: ValueError: bad value (train.py, line 7)"),
        (0, 1, None),
    ),
    "in a library, the line is the script's": (
        (0, 1, IN_A_LIBRARY),
        ("ScriptFailed", "FileNotFoundError: nothing (train.py, line 12)"),
        (0, 1, None),
    ),
    "of a chain the last counts": (
        (0, 1, CHAINED),
        ("ScriptFailed", "RuntimeError: outer (train.py, line 5)"),
        (0, 1, None),
    ),
    "an exit code of its own": ((2, 3, ""), ("ScriptFailed", "exited with code 3"), (2, 3, None)),
    "an exit code of its own after an exception that was caught": (
        (2, 3, PLAIN + "giving up\n"),
        ("ScriptFailed", "exited with code 3: giving up"),
        (2, 3, None),
    ),
    "argparse": (
        (0, 2, "usage: train.py\ntrain.py: error: unrecognized arguments: --x\n"),
        ("ArgumentsInvalid", "code 2: train.py: error: unrecognized arguments: --x"),
        (0, 2, None),
    ),
    "exit code 2 alone may be anything": (
        (0, 2, "train.py: error: the server is busy\n"),
        ("ScriptFailed", "code 2: train.py: error: the server is busy"),
        (0, 2, None),
    ),
    "click": (
        (0, 2, "Usage: cmd [OPTIONS]\nTry 'cmd --help' for help.\n\nError: No such option: --x\n"),
        ("ArgumentsInvalid", "code 2: Error: No such option: --x"),
        (0, 2, None),
    ),
    "a file that is not there": (
        (None, 2, "python: can't open file '/w/go.py': [Errno 2] No such file or directory\n"),
        ("CommandNotFound", "can't open file '/w/go.py'"),
        (None, 2, None),
    ),
    "a module of the command that is not there": (
        (None, 1, "/venv/bin/python3.11: No module named deepspeed\n"),
        ("ModuleMissing", "No module named deepspeed"),
        (None, 1, None),
    ),
    "a module that is not there": (
        (0, 1, exception("ModuleNotFoundError: No module named 'xgboost'")),
        ("ModuleMissing", "No module named 'xgboost' (train.py, line 7)"),
        (0, 1, None),
    ),
    "a name that a module has not": (
        (0, 1, exception("ImportError: cannot import name 'Tune' from 'ray'")),
        ("ScriptInvalid", "cannot import name 'Tune'"),
        (0, 1, None),
    ),
    "a library of the system that another node may have": (
        (0, 1, exception("ImportError: libcuda.so.1: cannot open shared object file")),
        ("ScriptFailed", "libcuda.so.1"),
        (0, 1, None),
    ),
    "a module that is not Python": (
        (0, 1, exception("SyntaxError: invalid syntax")),
        ("ScriptInvalid", "invalid syntax"),
        (0, 1, None),
    ),
    "an address of the manifest is no path": (
        (0, 1, exception("FileNotFoundError: [Errno 2] No such file: 'pvc://datasets/in.csv'")),
        ("ScriptInvalid", "pvc://datasets/in.csv"),
        (0, 1, None),
    ),
    "an address that pandas does not know": (
        (0, 1, exception("ValueError: Protocol not known: pvc")),
        ("ScriptInvalid", "Protocol not known: pvc"),
        (0, 1, None),
    ),
    "a file that is not there may come": (
        (0, 1, exception("FileNotFoundError: [Errno 2] No such file: '/mnt/claims/in.csv'")),
        ("ScriptFailed", "/mnt/claims/in.csv"),
        (0, 1, None),
    ),
    "a download that broke off is nobody of the gang": (
        (
            0,
            1,
            exception(
                "requests.exceptions.ConnectionError: ('Connection aborted.', "
                "ConnectionResetError(104, 'Connection reset by peer'))"
            ),
        ),
        ("ScriptFailed", "Connection reset by peer"),
        (0, 1, None),
    ),
    "killed from outside": (
        (1, -9, ""),
        ("ProcessKilled", "rank 1 was killed by SIGKILL"),
        (1, None, 9),
    ),
    "a crash of its own": ((1, -11, ""), ("ScriptFailed", "was killed by SIGSEGV"), (1, None, 11)),
    "a peer is gone": ((1, 1, PEER), ("PeerLost", "Connection closed by peer"), (1, 1, None)),
    "a peer was killed": ((1, 1, RESET), ("PeerLost", "reset by peer"), (1, 1, None)),
    "gloo aborts because a peer is gone": (
        (
            1,
            -6,
            "terminate called after throwing an instance of 'gloo::IoException'\n"
            "  what():  [pair.cc:553] Connection closed by peer [127.0.0.1]:1\n",
        ),
        ("PeerLost", "lost the connection"),
        (1, None, None),
    ),
    "torchrun names the rank and its code": (
        (None, 1, PEER + torchrun(0, 3)),
        ("ScriptFailed", "rank 0 exited with code 3"),
        (0, 3, None),
    ),
    "torchrun: the exception is that of the rank that failed first": (
        (None, 1, MARKED + torchrun(0, 1)),
        ("ScriptFailed", "ValueError: bad value (train.py, line 5)"),
        (0, 1, None),
    ),
    "torchrun: a rank was killed": (
        (None, 1, PEER + torchrun(0, -9)),
        ("ProcessKilled", "rank 0 was killed by SIGKILL"),
        (0, None, 9),
    ),
    "torchrun: a rank of another node is gone": (
        (None, 1, PEER + torchrun(1, 1)),
        ("PeerLost", "Connection closed by peer"),
        (1, 1, None),
    ),
    "torchrun without a process group": (
        (None, 1, PLAIN + torchrun(0, 1)),
        ("ScriptFailed", "ValueError: bad value"),
        (0, 1, None),
    ),
    "another launcher": (
        (None, 1, MARKED),
        ("ScriptFailed", "cmd exited with code 1: ValueError: bad value (train.py, line 5)"),
        (None, 1, None),
    ),
    "memory": ((0, 1, memory_error("MemoryError")), ("OutOfMemory", "no room"), (0, 1, None)),
    "memory of a GPU": (
        (0, 1, memory_error("torch.OutOfMemoryError")),
        ("OutOfMemory", "no room"),
        (0, 1, None),
    ),
    "a full disk": (
        (0, 1, memory_error("OSError: [Errno 28] No space left on device")),
        ("DiskFull", "No space left"),
        (0, 1, None),
    ),
    "no rendezvous": (
        (0, 1, memory_error("torch.distributed.DistNetworkError")),
        ("RendezvousFailed", "no room"),
        (0, 1, None),
    ),
}


@pytest.mark.parametrize(("ended", "told", "numbers"), USER.values(), ids=USER)
def test_how_user_code_failed(ended, told, numbers):
    rank, code, stderr = ended
    failure = blame.of_user_code(Exit(rank, code, stderr, False), "cmd", blame.oom_kills())
    assert (failure.reason, told[1] in failure.message) == (told[0], True), failure.message
    assert (failure.rank, failure.exit_code, failure.signal) == numbers


# stderr -> the reason of a process that is the only one of its gang
ALONE = {
    "a connection that was reset": (
        exception("ConnectionResetError: [Errno 104] Connection reset by peer"),
        "ScriptFailed",
    ),
    "a pipe that broke": (exception("BrokenPipeError: [Errno 32] Broken pipe"), "ScriptFailed"),
    "ranks that it has started itself": (PEER, "PeerLost"),
    "ranks of torchrun": (PEER + torchrun(1, 1), "PeerLost"),
}


@pytest.mark.parametrize(("stderr", "expected"), ALONE.values(), ids=ALONE)
def test_who_is_alone_has_no_peer_to_lose(stderr, expected):
    failure = blame.of_user_code(Exit(None, 1, stderr, False), "cmd", 0, alone=True)
    assert failure.reason == expected, failure.message


# code that installs what it then lacks: a registry may not have answered
INSTALLERS = {
    "import os\nos.system('pip install xgboost')\nimport xgboost": "ScriptFailed",
    "sh -c uv pip install xgboost; python train.py": "ScriptFailed",
    "subprocess.run([sys.executable, '-m', 'pip', 'install', 'xgboost'])": "ScriptFailed",
    "import xgboost": "ModuleMissing",
    "# install xgboost first\nimport xgboost": "ModuleMissing",
}


@pytest.mark.parametrize(("code", "expected"), INSTALLERS.items())
def test_a_missing_module_is_certain_unless_the_code_installs_some(code, expected):
    stderr = exception("ModuleNotFoundError: No module named 'xgboost'")
    failure = blame.of_user_code(Exit(0, 1, stderr, False), "cmd", 0, code=code)
    assert failure.reason == expected


def test_a_rank_of_ours_tells_its_failure_itself():
    told = StageError(reason="LossNotFinite", message="the loss became nan", rank=1)
    failure = blame.of_built_in(Exit(1, 1, "", False), told, 0)
    assert (failure.reason, failure.message, failure.rank) == (told.reason, told.message, 1)


def test_a_rank_of_ours_that_was_killed_tells_nothing():
    failure = blame.of_built_in(Exit(1, -9, "", False), None, blame.oom_kills())
    assert (failure.reason, failure.rank, failure.signal) == ("ProcessKilled", 1, 9)


def test_a_crash_of_ours_is_not_the_users():
    failure = blame.of_built_in(Exit(0, -11, "", False), None, 0)
    assert (failure.reason, failure.signal) == ("ProcessKilled", 11)


def test_a_kill_for_memory_is_told_as_such(tmp_path, monkeypatch):
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 2\n")
    assert blame.oom_kills([events]) == 2
    control = tmp_path / "memory.oom_control"
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert blame.oom_kills([tmp_path / "nothing", control]) == 3
    monkeypatch.setattr(blame, "oom_kills", lambda: 2)
    failure = blame.of_user_code(Exit(0, -9, "", False), "cmd", 1)
    assert (failure.reason, failure.signal) == ("OutOfMemory", 9)


def test_without_a_cgroup_no_kill_was_for_memory(tmp_path):
    assert blame.oom_kills([tmp_path / "nothing"]) == 0


# reasons in the order of the exits, those that we asked to end in brackets -> the one told
BLAMED = {
    "the first cause": (["ScriptFailed", "ProcessKilled"], False, "ScriptFailed"),
    "a cause before its consequences": (["PeerLost", "ScriptFailed"], False, "ScriptFailed"),
    "a consequence when its cause is elsewhere": (
        ["PeerLost", "(ProcessKilled)"],
        False,
        "PeerLost",
    ),
    "nobody whom we ended": (["(ProcessKilled)", "ScriptFailed"], False, "ScriptFailed"),
    "a stop": (["Disrupted", "PeerLost"], True, "Disrupted"),
    "a stop before the ranks were ready": (["ProcessKilled", "PeerLost"], True, "Disrupted"),
    "a full disk at the stop": (["PeerLost", "DiskFull"], True, "DiskFull"),
}


@pytest.mark.parametrize(("reasons", "stopped", "expected"), BLAMED.values(), ids=BLAMED)
def test_the_failure_that_is_told(reasons, stopped, expected):
    exits = [Exit(i, 1, "", reason.startswith("(")) for i, reason in enumerate(reasons)]
    failures = {i: StageFailure(reason.strip("()"), "x") for i, reason in enumerate(reasons)}
    found = blame.primary(Outcome(exits, stopped), lambda exit_: failures[exit_.rank or 0])
    assert found.reason == expected


NO_PARENT = "ImportError: attempted relative import with no known parent package"
NO_FILE = "FileNotFoundError: [Errno 2] No such file or directory: "
# what is raised, arguments, of a gang -> reason, words
OF_THE_WAY: dict[str, tuple[str, list[str], bool, str, str]] = {
    "a module of another folder": (
        "ModuleNotFoundError: No module named 'lib'", [], False, "ScriptInvalid",
        "(train.py, line 1): the code has it as src/lib: have its folder (src, as it is called "
        "from workingDir) in PYTHONPATH",
    ),
    "a file of another folder": (
        "ModuleNotFoundError: No module named 'one'", [], False, "ScriptInvalid",
        "the code has it as src/one.py: have its folder (src, as it is called from workingDir) in",
    ),
    "a module of nobody": (
        "ModuleNotFoundError: No module named 'lib.absent'", [], False, "ModuleMissing",
        "No module named 'lib.absent' (train.py, line 1)",
    ),
    "a package's file that is run": (
        NO_PARENT, [], False, "ScriptInvalid", "run it by command: [python, -m, PACKAGE.FILE]",
    ),
    "a question": (
        "EOFError: EOF when reading a line", [], False, "ScriptInvalid", "EOF when reading a line",
    ),
    "a file that it looks for": (
        f"{NO_FILE}'data/in.csv'", [], False, "ScriptFailed", "in a copy of the code alone; data",
    ),
    "a file that it is told of": (
        f"{NO_FILE}'data/in.csv'", ["--data", "data/in.csv"], False, "ArgumentsInvalid", "line 1)",
    ),
    "the same in one word": (
        f"{NO_FILE}'/in.csv'", ["--data=/in.csv"], False, "ArgumentsInvalid", "'/in.csv' (train.py",
    ),
    "one that another rank may make": (
        f"{NO_FILE}'/in.csv'", ["--data=/in.csv"], True, "ScriptFailed", "'/in.csv' (train.py",
    ),
    "a name that is not there": (
        "ImportError: cannot import name 'a' from 'b' (FOLDER/src/b.py)", [], False,
        "ScriptInvalid", "from 'b' (src/b.py) (train.py, line 1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_THE_WAY)
def test_what_comes_of_the_way_in_which_jobs_run_code(name: str, tmp_path: Path) -> None:
    what, arguments, gang, reason, words = OF_THE_WAY[name]
    (tmp_path / "src/lib").mkdir(parents=True)
    (tmp_path / "src/lib/__init__.py").touch()
    (tmp_path / "src/one.py").touch()
    frame = f'  File "{tmp_path}/train.py", line 1, in <module>\n    x\n'
    stderr = f"Traceback (most recent call last):\n{frame}{what}\n"
    failure = blame.of_user_code(
        Exit(0, 1, stderr.replace("FOLDER", str(tmp_path)), False), "train.py", 0,
        alone=not gang, folder=tmp_path, arguments=arguments,
    )  # fmt: skip
    assert failure.reason == reason
    assert words in failure.message
    assert str(tmp_path) not in failure.message


USAGE = "usage: train.py [-h] --n N\ntrain.py: error: the following arguments are required: --n\n"
# As torchrun 2.13 has it.
ELASTIC = "E1129 17:33:20.120000 42 torch/distributed/elastic/multiprocessing/api.py:984] failed "


@pytest.mark.parametrize(
    ("said", "code", "reason", "words"),
    [
        (USAGE, 2, "ArgumentsInvalid", "rank 0 exited with code 2: train.py: error: the following"),
        ("no rows today\n", 1, "ScriptFailed", "rank 0 exited with code 1: no rows today"),
        ("", 3, "ScriptFailed", "rank 0 exited with code 3"),
    ],
)
def test_the_words_of_a_rank_of_torchruns(said: str, code: int, reason: str, words: str) -> None:
    stderr = f"{said}{ELASTIC}(exitcode: {code}) local_rank: 0 (pid: 43)\n{torchrun(0, code)}"
    failure = blame.of_user_code(Exit(None, 1, stderr, False), "torchrun", 0)
    assert failure.reason == reason
    assert failure.message.startswith(words)
    assert "elastic" not in failure.message
