"""Own code before the steps: its files import each other and packages of their own, where Spark's
executors run them, too; and what is told when it fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.local.train.test_packages import write_wheel
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines import sending

from .both import run

ROWS = "x,y\n" + "".join(f"{i},{i % 7}.5\n" for i in range(40))

# As people write it for either engine: a sibling, a file beside it, a function that runs where the
# rows are.
FILES = {
    "prep/preprocess.py": """
from pathlib import Path
from lib.twice import twice

NAMES = Path("names.txt").read_text().split()

def preprocess(frame, context):
    if context.engine == "spark":
        from pyspark.sql.functions import udf
        return frame.withColumn("twice", udf(twice, "double")("x")).withColumnRenamed("x", NAMES[0])
    return frame.assign(twice=frame.x.map(twice)).rename(columns={"x": NAMES[0]})
""",
    "prep/lib/__init__.py": "",
    "prep/lib/twice.py": """
from pathlib import Path
FACTOR = float((Path(__file__).parent / "factor.txt").read_text())
def twice(value):
    return FACTOR * value
""",
    "prep/lib/factor.txt": "2",
    "prep/names.txt": "given",
}


def made(engine: str, folder: Path, **more: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "in.csv").write_text(ROWS)
    return run(engine, folder / "in.csv", folder / "out", **more)


def values(files: dict[Any, Any], column: str) -> list[float]:
    return sorted(value for table in files.values() for value in table[column].to_pylist())


@pytest.mark.parametrize("engine", ["pandas", "spark"])
def test_files_import_each_other_also_where_the_rows_are(
    engine: str, tmp_path: Path, spark: SparkSession
) -> None:
    where, known = [*sys.path], {*sys.modules}
    result = made(engine, tmp_path, code={"inline": FILES}, workingDir="prep")
    assert not isinstance(result[1], str), result
    manifest, files = result
    assert sorted(manifest.features) == ["given", "twice"]
    assert values(files, "twice") == [2.0 * i for i in range(40)]
    # Our own process is as it was before.
    assert sys.path == where
    assert not {name for name in {*sys.modules} - known if name.startswith("lib")}
    assert Path.cwd() != tmp_path


PACKAGED = """
import os, sys
import pandas, quaver
def preprocess(frame, context):
    assert sys.prefix == os.environ["VIRTUAL_ENV"], "of its own"
    assert not pandas.__file__.startswith(sys.prefix), "that of the image"
    return frame.assign(note=frame.x * quaver.VALUE)
"""


def packaged(folder: Path, packages: list[str], **more: Any) -> dict[str, Any]:
    asked = {"packages": packages, "wheels": f"file://{folder}/wheels"}
    return {"requirements": asked, "script": {"inline": PACKAGED}, **more}


def index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def test_packages_are_its_own_and_the_second_time_without_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(tmp_path / "index", "quaver", "1.0", "VALUE = 8")
    index(monkeypatch, tmp_path / "index")
    _, files = made("pandas", tmp_path / "a", **packaged(tmp_path, ["quaver==1.0", "pandas"]))
    assert values(files, "note") == [8.0 * i for i in range(40)]
    assert "requirements: quaver 1.0 (found, " in capfd.readouterr().out

    index(monkeypatch, tmp_path / "nowhere")
    _, again = made("pandas", tmp_path / "b", **packaged(tmp_path, ["quaver==1.0", "pandas"]))
    assert values(again, "note") == values(files, "note")
    assert "requirements: quaver 1.0 (kept, " in capfd.readouterr().out


def test_what_our_process_is_made_of_keeps_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "index", "pandas", "1.0", "VALUE = 8")
    index(monkeypatch, tmp_path / "index")
    reason, message = made("pandas", tmp_path, **packaged(tmp_path, ["pandas==1.0"]))
    assert reason == "PackagesInvalid"
    assert "pandas==1.0" in message
    assert "constraint" in message


ON_EXECUTORS = """
import quaver
from pyspark.sql.functions import udf

@udf("double")
def there(value):
    import os, semiquaver
    assert "executor" in os.environ["PROOF"], os.environ["PROOF"]
    return float(value * semiquaver.VALUE)

def preprocess(frame, context):
    return frame.withColumn("note", there("x"))
"""


@pytest.mark.nightly  # two more Javas
def test_executors_have_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of their own, whose Python is that of the image."""
    import pyspark

    write_wheel(tmp_path / "index", "quaver", "1.0", "VALUE = 8", "semiquaver")
    write_wheel(tmp_path / "index", "semiquaver", "2.0", "VALUE = 8")
    index(monkeypatch, tmp_path / "index")
    monkeypatch.setenv("TRAININGJOB_SPARK_MASTER", "local-cluster[1,1,1024]")
    monkeypatch.setenv("SPARK_HOME", str(Path(pyspark.__file__).parent))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    conf = {"spark.executorEnv.PROOF": "executor", "spark.executor.memory": "512m"}
    code = {"requirements": packaged(tmp_path, ["quaver"])["requirements"], "sparkConf": conf}
    result = made("spark", tmp_path, script={"inline": ON_EXECUTORS}, **code)
    assert not isinstance(result[1], str), result
    assert values(result[1], "note") == [8.0 * i for i in range(40)]


def test_executors_are_not_sent_more_than_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> None:
    monkeypatch.setattr(sending, "MOST_BYTES", 10)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/vocabulary.txt").write_text("x" * 11)
    with pytest.raises(StageFailure) as told:
        sending.send(spark, tmp_path / "code", tmp_path)
    assert told.value.reason == "ScriptInvalid"
    assert "put them into an image" in told.value.message
    assert [*tmp_path.iterdir()] == [tmp_path / "code"]


BEGIN = "def preprocess(frame, context):\n    "
# files -> reason, message
FAILURES: dict[str, tuple[dict[str, str], str, str]] = {
    "an exception of a sibling": (
        {"preprocess.py": f"import lib\n{BEGIN}return lib.f()", "lib.py": "\ndef f():\n  1 / 0"},
        "ScriptFailed",
        "lib.py, line 3: ZeroDivisionError: division by zero",
    ),
    "a module that is not there": (
        {"preprocess.py": f"{BEGIN}import absent"},
        "ModuleMissing",
        "preprocess.py, line 2: ModuleNotFoundError: No module named 'absent'",
    ),
    "one that the code installs": (
        {"preprocess.py": f"import os\n{BEGIN}os.system('pip install x'); import absent"},
        "ScriptFailed",
        "preprocess.py, line 3: ModuleNotFoundError: No module named 'absent'",
    ),
    "a sibling that is no Python": (
        {"preprocess.py": f"import lib\n{BEGIN}pass", "lib.py": "def f(:\n"},
        "ScriptInvalid",
        "preprocess.py, line 1: SyntaxError: invalid syntax (lib.py, line 1)",
    ),
    "no Python itself": (
        {"preprocess.py": "def f(:\n"},
        "ScriptInvalid",
        "preprocess.py is not Python: invalid syntax in line 1",
    ),
    "no such function": (
        {"preprocess.py": "import lib", "lib.py": ""},
        "ScriptInvalid",
        "preprocess.py has no function preprocess(frame, context)",
    ),
    "no such file": (
        {"prep.py": ""},
        "ScriptMissing",
        "the code has no file preprocess.py: set preprocess.code.main; it has prep.py",
    ),
    "an end with words": (
        {"preprocess.py": f"import sys\n{BEGIN}sys.exit('no rows today')"},
        "ScriptFailed",
        "preprocess.py, line 3: sys.exit(1): no rows today",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_names_the_line_of_the_code(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files, reason, message = FAILURES[name]
    told = made("pandas", tmp_path, code={"inline": files})
    assert told == (reason, message)
    # The traceback is that of the code, by the names that its files have.
    log = capfd.readouterr().err
    assert "trainingjob/runtime" not in log
    if name == "an exception of a sibling":
        assert 'File "preprocess.py", line 3, in preprocess' in log
        assert "1 / 0" in log
