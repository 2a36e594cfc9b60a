"""`trainingjob`, also installed as `kubectl-trainingjob`.

argparse, and imports at the last moment: `--help` takes 30 ms and `validate` a quarter of a
second. With typer they take 230 and 320 ms.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from ..api.printable import escaped
from ..api.stages import STAGE_NAMES
from ..api.uris import CLAIM

WORK_DIR = "TRAININGJOB_WORK_DIR"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no "…" is no reason to die
    try:
        code = _main(argv)
        sys.stdout.flush()
        return int(code)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _main(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    from ..local.errors import LocalError, Refused
    from .errors import CliError
    from .exits import Exit

    try:
        return int(_command(args))
    except (CliError, Refused) as error:
        return _fail(str(error), Exit.INVALID)
    except LocalError as error:
        return _fail(str(error), Exit.FAILED)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", Exit.FAILED)


def _command(args: argparse.Namespace) -> int:
    if args.command == "run":
        from .run import run

        return run(args)
    if args.command == "rerun":
        from .rerun import rerun

        return rerun(args)
    if args.command == "validate":
        from .validate import validate

        return validate(args)
    if args.command == "plan":
        from .dryrun import print_plan

        return print_plan(args)
    if args.command == "get":
        from .get import get

        return get(args)
    if args.command == "logs":
        from .logs import logs

        return logs(args)
    if args.command == "generate":
        from .generate import generate

        return generate(args)
    if args.command == "serve":
        from .serve import serve

        return serve(args)
    if args.command == "predict":
        from .serve import predict

        return predict(args)
    if args.command == "explain":
        from .explain import explain

        return explain(args)
    from ..api.crd import crd
    from .text import dump

    sys.stdout.write(dump(crd(), "yaml"))
    return 0


def _fail(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"error: {escaped(line)}", file=sys.stderr)
    return code


def _between(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    """A number of an argument."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = most + 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return value

    return read


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    from .. import __version__
    from .exits import MEANINGS

    main = argparse.ArgumentParser(
        prog="trainingjob",
        description="From raw data to a judged model, on this machine, by the manifest that a "
        "cluster runs.",
        epilog="exit codes: "
        + "; ".join(f"{code.value} {words}" for code, words in MEANINGS.items()),
        allow_abbrev=False,
    )
    main.add_argument("--version", action="version", version=f"trainingjob {__version__}")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, words: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=words, description=words, epilog=main.epilog, allow_abbrev=False
        )

    def work_dir(of: argparse.ArgumentParser) -> None:
        of.add_argument(
            "--work-dir",
            metavar="DIR",
            default=os.environ.get(WORK_DIR) or ".trainingjob",
            help=f"where jobs, logs and claims lie (default: ${WORK_DIR}, or ./.trainingjob)",
        )

    def namespace(of: argparse.ArgumentParser) -> None:
        of.add_argument("-n", "--namespace", metavar="NAME", help="namespace of the job")

    def variant(of: argparse.ArgumentParser) -> None:
        of.add_argument(
            "--variant",
            metavar="NAME",
            help="a form of the model that train.export has made: onnx or int8 (default: the "
            "model itself)",
        )

    def output(of: argparse.ArgumentParser) -> None:
        of.add_argument("-o", "--output", choices=("json", "yaml"), help="print the object")

    def driving(of: argparse.ArgumentParser) -> None:
        of.add_argument("--no-color", action="store_true", help="no colours (also: $NO_COLOR)")
        work_dir(of)
        namespace(of)
        output(of)

    run = command("run", "run a job on this machine")
    run.add_argument("file", metavar="FILE", help="manifest with one TrainingJob; - for stdin")
    run.add_argument(
        "--claim",
        metavar="NAME=DIR",
        action="append",
        default=[],
        help=f"folder of a claim ({CLAIM.start}NAME/...); by default NAME beside the manifest, or "
        "one in the work folder; may be repeated",
    )
    run.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    driving(run)

    rerun = command("rerun", "run a job of this folder again, from one of its stages")
    rerun.add_argument("name", metavar="NAME", help="a job that is not running")
    rerun.add_argument(
        "--from",
        dest="stage",
        choices=STAGE_NAMES,
        help="the stage to begin with, those before it stay as they are (default: the first one)",
    )
    rerun.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="the job's manifest (default: the file that it was run with, as it is now)",
    )
    driving(rerun)

    validate = command("validate", "check manifests as the API server would")
    validate.add_argument("files", metavar="FILE", nargs="+", help="manifests; - for stdin")

    plan = command("plan", "print the pods that a job would make")
    plan.add_argument("file", metavar="FILE", help="manifest with one TrainingJob; - for stdin")
    namespace(plan)

    command("crd", "print the CustomResourceDefinition")

    get = command("get", "list the jobs of this folder, or show one")
    get.add_argument("name", metavar="NAME", nargs="?", help="a job")
    work_dir(get)
    namespace(get)
    shown = get.add_mutually_exclusive_group()
    shown.add_argument("-o", "--output", choices=("json", "yaml"), help="print the object")
    shown.add_argument(
        "-w", "--watch", action="store_true", help="a line at each change, until none of them runs"
    )

    explain = command("explain", "tell how a job came to stand where it stands")
    explain.add_argument("name", metavar="NAME", nargs="?", help="a job of this folder")
    explain.add_argument(
        "-f", "--file", metavar="FILE", help="the job as `kubectl get -o json` has it; - for stdin"
    )
    work_dir(explain)
    namespace(explain)

    generate = command("generate", "let the language model of a job go on with a text")
    generate.add_argument("name", metavar="NAME", help="a job of this folder that has its model")
    generate.add_argument(
        "text", metavar="TEXT", help="what to go on with, or what a user says; - for stdin"
    )
    generate.add_argument(
        "--tokens",
        type=_between(int, 1, 4096),
        default=64,
        metavar="N",
        help="at most so many tokens, 1 to 4096 (default: %(default)s)",
    )
    generate.add_argument(
        "--temperature",
        type=_between(float, 0, 10),
        default=0.7,
        metavar="T",
        help="how boldly to choose; 0 takes the most likely token (default: %(default)s)",
    )
    generate.add_argument(
        "--seed",
        type=_between(int, 0, 2**31 - 1),
        default=0,
        metavar="N",
        help="of the choice: the same one, the same text (default: %(default)s)",
    )
    work_dir(generate)
    namespace(generate)

    serve = command("serve", "serve the last accepted model of a job over HTTP")
    serve.add_argument("name", metavar="NAME", help="a job of this folder whose model passed")
    serve.add_argument(
        "--port",
        type=_between(int, 0, 65535),
        default=8080,
        metavar="N",
        help="0 takes any that is free (default: %(default)s)",
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="of this machine to listen at; 0.0.0.0 for all (default: %(default)s)",
    )
    serve.add_argument("--verbose", action="store_true", help="show all that the server writes")
    variant(serve)
    work_dir(serve)
    namespace(serve)

    predict = command("predict", "predict the rows of files by the last accepted model of a job")
    predict.add_argument("name", metavar="NAME", help="a job of this folder whose model passed")
    predict.add_argument(
        "file",
        metavar="FILE",
        nargs="+",  # what a shell makes of a pattern is to be told
        help="rows as the job's input has them: a file, folder or pattern, or a URI as in "
        "input.uri",
    )
    predict.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to write: .csv or .parquet (default: CSV to standard output)",
    )
    predict.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column of the file to write beside the predictions; may be repeated",
    )
    variant(predict)
    work_dir(predict)
    namespace(predict)

    logs = command("logs", "print the logs of a job's pods")
    logs.add_argument("name", metavar="NAME", help="a job")
    logs.add_argument("--stage", choices=STAGE_NAMES, help="of one stage")
    logs.add_argument(
        "--rank", "--index", dest="index", type=int, metavar="N", help="of one pod of the gang"
    )
    logs.add_argument(
        "--attempt", type=int, metavar="N", help="of an attempt (default: each stage's last one)"
    )
    logs.add_argument("-f", "--follow", action="store_true", help="until the job ends")
    work_dir(logs)
    namespace(logs)
    return main


if __name__ == "__main__":
    sys.exit(main())
