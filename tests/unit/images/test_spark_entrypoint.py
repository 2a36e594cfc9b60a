"""The Spark image's entrypoint: the command line of an executor, and who gets the signals."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "images/spark/entrypoint"
JARS = Path("/site/pyspark/jars")
# What Spark's BasicExecutorFeatureStep sets on every executor.
SPARK = {
    "PATH": "/usr/bin:/bin",
    "JAVA_HOME": "/jvm",
    "SPARK_USER": "trainingjob",
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@198.18.0.7:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "1024m",
    "SPARK_APPLICATION_ID": "spark-0f",
    "SPARK_CONF_DIR": "/opt/spark/conf",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_IP": "198.18.0.9",
    "SPARK_EXECUTOR_POD_NAME": "digits-preprocess-1-0-exec-3",
}
MAIN = [
    "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
    *("--driver-url", "spark://CoarseGrainedScheduler@198.18.0.7:7078"),
    *("--executor-id", "3"),
    *("--cores", "2"),
    *("--app-id", "spark-0f"),
    *("--hostname", "198.18.0.9"),
    *("--resourceProfileId", "0"),
    *("--podName", "digits-preprocess-1-0-exec-3"),
]
MEMORY = ["-Xms1024m", "-Xmx1024m"]


@pytest.fixture(scope="module")
def entrypoint() -> ModuleType:
    loader = SourceFileLoader("entrypoint", str(FILE))
    spec = importlib.util.spec_from_loader("entrypoint", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("situation", "env", "command"),
    [
        (
            "as Spark starts it",
            {},
            ["/jvm/bin/java", *MEMORY, "-cp", f"/opt/spark/conf:{JARS}/*", *MAIN],
        ),
        (
            "options in the order of their numbers, which is not that of letters",
            {f"SPARK_JAVA_OPT_{i}": f"-Da{i}=1" for i in (10, 2, 0, 1, 9)},
            [
                "/jvm/bin/java",
                *("-Da0=1", "-Da1=1", "-Da2=1", "-Da9=1", "-Da10=1"),
                *MEMORY,
                *("-cp", f"/opt/spark/conf:{JARS}/*"),
                *MAIN,
            ],
        ),
        (
            "an option with spaces, quotes, a line feed and things that a shell would run",
            {"SPARK_JAVA_OPT_0": '-Da="x y" \'\n$(id) `id` ; id *'},
            [
                "/jvm/bin/java",
                '-Da="x y" \'\n$(id) `id` ; id *',
                *MEMORY,
                *("-cp", f"/opt/spark/conf:{JARS}/*"),
                *MAIN,
            ],
        ),
        (
            "variables that only look like options",
            {"SPARK_JAVA_OPT_": "a", "SPARK_JAVA_OPT_X": "b", "MY_SPARK_JAVA_OPT_1": "c"},
            ["/jvm/bin/java", *MEMORY, "-cp", f"/opt/spark/conf:{JARS}/*", *MAIN],
        ),
        (
            "settings first, then the user's classes, then Spark's, then a distribution's",
            {
                "HADOOP_CONF_DIR": "/opt/hadoop/conf",
                "SPARK_CLASSPATH": "/mine/a.jar:/mine/b.jar",
                "SPARK_DIST_CLASSPATH": "/hadoop/*",
            },
            [
                "/jvm/bin/java",
                *MEMORY,
                "-cp",
                f"/opt/spark/conf:/opt/hadoop/conf:/mine/a.jar:/mine/b.jar:{JARS}/*:/hadoop/*",
                *MAIN,
            ],
        ),
        (
            "no entry of the class path is empty",
            {"SPARK_CONF_DIR": "", "SPARK_CLASSPATH": "", "SPARK_DIST_CLASSPATH": ""},
            ["/jvm/bin/java", *MEMORY, "-cp", f"{JARS}/*", *MAIN],
        ),
    ],
)
def test_the_command_line_of_an_executor(
    entrypoint: ModuleType, situation: str, env: dict[str, str], command: list[str]
) -> None:
    assert entrypoint.executor({**SPARK, **env}, JARS) == command


def test_a_user_without_a_name_is_told(
    entrypoint: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    entrypoint.check_user(0)
    nobody = max(entry.pw_uid for entry in pwd.getpwall()) + 1
    with pytest.raises(SystemExit) as left:
        entrypoint.check_user(nobody)
    assert left.value.code == 2
    assert f"user {nobody} has no entry in /etc/passwd" in capsys.readouterr().err


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in SPARK
        if name.startswith("SPARK_") and name not in ("SPARK_USER", "SPARK_CONF_DIR")
    ],
)
def test_an_executor_without_a_variable_says_which(
    entrypoint: ModuleType, capsys: pytest.CaptureFixture[str], name: str, empty: bool
) -> None:
    env = {**SPARK, name: ""} if empty else {k: v for k, v in SPARK.items() if k != name}
    with pytest.raises(SystemExit) as left:
        entrypoint.executor(env, JARS)
    assert left.value.code == 2
    assert f"${name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("situation", "env", "path"),
    [
        ("none", {}, None),
        ("the user's", {"SPARK_EXECUTOR_LIBRARY_PATH": "/mine"}, "/mine"),
        ("the image's", {"LD_LIBRARY_PATH": "/cuda"}, "/cuda"),
        (
            "the user's first",
            {"SPARK_EXECUTOR_LIBRARY_PATH": "/mine", "LD_LIBRARY_PATH": "/cuda"},
            "/mine:/cuda",
        ),
    ],
)
def test_native_libraries(
    entrypoint: ModuleType, situation: str, env: dict[str, str], path: str | None
) -> None:
    assert entrypoint.with_libraries(env).get("LD_LIBRARY_PATH") == path


def test_spark_is_found_where_pyspark_is(entrypoint: ModuleType) -> None:
    assert list(entrypoint.spark_jars().glob("spark-kubernetes_*.jar"))


@pytest.fixture
def java(tmp_path: Path) -> Iterator[Path]:
    """A JAVA_HOME whose java tells what it was given, and waits for SIGTERM when it is to."""
    program = tmp_path / "jvm/bin/java"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, signal, sys\n"
        "print(os.getpid(), os.getcwd(), os.environ.get('LD_LIBRARY_PATH'), sys.argv[-1])\n"
        "sys.stdout.flush()\n"
        "if os.environ.get('WAIT'):\n"
        "    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))\n"
        "    print('ready', flush=True)\n"
        "    signal.pause()\n"
    )
    program.chmod(0o755)
    yield tmp_path / "jvm"


def start(arguments: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(FILE), *arguments],
        env=env,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_java_takes_the_place_of_the_process_so_that_signals_reach_it(java: Path) -> None:
    process = start(["executor"], {**SPARK, "JAVA_HOME": str(java), "WAIT": "1"})
    assert process.stdout
    pid, *_ = process.stdout.readline().split()
    assert int(pid) == process.pid
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_an_executor_works_where_it_may_write(java: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = {
        **SPARK,
        "JAVA_HOME": str(java),
        "SPARK_LOCAL_DIRS": f"/does/not/exist,{scratch}",
        "SPARK_EXECUTOR_LIBRARY_PATH": "/mine",
    }
    process = start(["executor"], env)
    out, err = process.communicate(timeout=30)
    assert out.split()[1:] == [str(scratch), "/mine", "digits-preprocess-1-0-exec-3"], err


def test_java_is_also_found_on_the_path(java: Path) -> None:
    env = {**SPARK, "PATH": f"{java}/bin:/usr/bin"}
    del env["JAVA_HOME"]
    process = start(["executor"], env)
    out, err = process.communicate(timeout=30)
    assert out.startswith(f"{process.pid} / "), err


@pytest.mark.parametrize(
    ("situation", "arguments", "env", "code", "told"),
    [
        ("a command is run as it stands", ["printf", "%s", "a b"], {}, 0, "a b"),
        ("an executor of another meaning", ["printf", "executor"], {}, 0, "executor"),
        ("its exit code is the container's", ["sh", "-c", "exit 7"], {}, 7, ""),
        ("nothing to do", [], {}, 2, "executor, or a command"),
        ("no such command", ["nope"], {}, 127, "cannot run nope: No such file"),
        ("no Java there", ["executor"], {}, 127, "cannot run /jvm/bin/java: No such file"),
        ("no Java at all", ["executor"], {"JAVA_HOME": ""}, 127, "there is no java on PATH"),
    ],
)
def test_other_arguments(
    situation: str, arguments: list[str], env: dict[str, str], code: int, told: str, tmp_path: Path
) -> None:
    bare = {**SPARK, **env}
    if "JAVA_HOME" in env:
        bare["PATH"] = str(tmp_path)
    process = start(arguments, bare)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert told in out + err
    assert "Traceback" not in err


def test_the_file_can_be_run_as_it_is() -> None:
    assert os.access(FILE, os.X_OK)
    assert FILE.read_text("utf-8").startswith("#!/opt/trainingjob/bin/python -I\n")
