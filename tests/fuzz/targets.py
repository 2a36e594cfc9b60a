"""What is fuzzed: whoever reads what others have written, good inputs to begin with, and which
refusals are words for people."""

from __future__ import annotations

import bz2
import contextlib
import copy
import functools
import gzip
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dulwich.objects import Blob, ShaFile, Tree
from pydantic import TypeAdapter, ValidationError
from release.envelope import ReleaseError, opened, sealed
from safetensors.numpy import save

from tests.unit.api.corpus import GOOD
from tests.unit.core.world import World, ended
from tests.unit.core.world import manifest as world_manifest
from tests.unit.serve.build import made, request
from trainingjob.api.errors import check_manifest
from trainingjob.api.payload import GitRef, Payload, ProgressReport
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.tokenize import Tokenize
from trainingjob.cli import main as cli
from trainingjob.cli import manifest
from trainingjob.cli.errors import ManifestError
from trainingjob.core import PodView
from trainingjob.core.diagnose import failure_of, result_of
from trainingjob.core.progress import reported
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.checkout import tree as checkout
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.evaluate.archive import RefusedArchive, copy_safely
from trainingjob.runtime.evaluate.own_code import metrics_of
from trainingjob.runtime.model import pretrained_model
from trainingjob.runtime.model.answers import stop_at_answers
from trainingjob.runtime.model.check import check_model
from trainingjob.runtime.model.generation import Writer
from trainingjob.runtime.model.mlp import load_model
from trainingjob.runtime.model.pretrained import look_at
from trainingjob.runtime.model.tokenizer import Tokenizer
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.input.scratch import Scratch
from trainingjob.runtime.preprocess.tokens import chat, tokenizer
from trainingjob.runtime.serve import completions, protocol
from trainingjob.runtime.serve.served import load

_CODE, _LINK = Blob.from_string(b"pass\n"), Blob.from_string(b"lib/data.py")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
Run = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Target:
    """``run`` gets an input and an empty folder; what it raises but ``words`` is a finding."""

    good: list[bytes]
    run: Run
    words: tuple[type[Exception], ...] = ()


# --- texts -------------------------------------------------------------------------------------
def _manifest(data: bytes, folder: Path) -> None:
    (folder / "job.yaml").write_bytes(data)
    for document in manifest.read(str(folder / "job.yaml")):
        job, problems = check_manifest(document.value)
        assert (job is None) == bool(problems)
        for problem in problems:
            assert problem.message.strip()
            document.place(problem.field)


def _payload(data: bytes, folder: Path) -> None:
    TypeAdapter(Payload).validate_json(data)


def _report(data: bytes, folder: Path) -> None:
    report = ProgressReport.model_validate_json(data)
    told = reported(report, "train", 1, 0, datetime.now(UTC))
    json.dumps(told.progress.to_dict(), allow_nan=False).encode()


def _termination(data: bytes, folder: Path) -> None:
    for code in (0, 1):
        pod = copy.deepcopy(_pod())
        ended(pod, 1.0, code=code, message=data.decode(errors="replace"))
        view = PodView.from_dict(pod)
        result, failure = result_of(view), failure_of(view)
        told = [failure.message] if failure is not None else []
        told += [json.dumps(result.to_dict())] if result is not None else []
        json.dumps(told, ensure_ascii=False).encode()


@functools.cache
def _pod() -> dict[str, Any]:
    world = World(world_manifest())
    world.settle()
    return next(iter(world.pods.values()))


def _cli(*command: str) -> Run:
    def run(data: bytes, folder: Path) -> None:
        (folder / "job.json").write_bytes(data)
        told, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors):
            code = cli.main([*command, str(folder / "job.json")])
        assert code == 0 or errors.getvalue().strip() or told.getvalue().strip()
        assert not {*told.getvalue()} & {"\x1b", "\x07", "\x00"}

    return run


# --- files -------------------------------------------------------------------------------------
def _input(name: str, kind: str) -> Run:
    def run(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        source = Input.model_validate({"uri": f"file://{folder / name}", "format": kind})
        with DuckdbEngine() as engine, Scratch(folder / "scratch") as place:
            frame = read_input(engine, source, scratch=place)
            list(engine.rows(f"SELECT count(*) FROM {frame.view}"))

    return run


def _in_folder(name: str, read: Callable[[Path], Any], beside: dict[str, bytes]) -> Run:
    def run(data: bytes, folder: Path) -> None:
        for other, content in beside.items():
            (folder / other).write_bytes(content)
        (folder / name).write_bytes(data)
        read(folder)

    return run


def _dataset(folder: Path) -> None:
    found = DatasetManifest.parse(folder)
    assert found.digest and found.names and found.text


def _tokenizer(folder: Path) -> None:
    spec = Tokenize.model_validate({"from": f"file://{folder}/tokenizer.json", "sequenceLength": 8})
    tokenizer.choose(None, "", "", spec, 0, 0)  # type: ignore[arg-type]


def _described(folder: Path) -> None:
    found = look_at("x", folder)
    model = pretrained_model.build(found, pretrained_model.config_of(found))
    pretrained_model.names_of(model, found)


def _words(folder: Path) -> None:
    with contextlib.closing(Tokenizer(folder)) as tool:
        tool.encode("ab", special=True)


def _stops(folder: Path) -> None:
    stop_at_answers(folder, 0)
    assert json.loads((folder / "generation_config.json").read_bytes())["eos_token_id"]


def _zip(content: bytes, **how: Any) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, **how) as archive:
        archive.writestr("a.csv", content)
        archive.writestr("b.csv", content)
    return packed.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"x": [1.5, None, 3.0], "s": ["a", "b", None]}), out)
    return out.getvalue()


def _weights_of(config: dict[str, Any]) -> bytes:
    """As the model of a config has them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = config["model_type"]
    sizes = {name: value for name, value in config.items() if name != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    return save({name: one.numpy() for name, one in model.state_dict().items()})


def _npy() -> bytes:
    out = io.BytesIO()
    np.savez(out, x=np.arange(4.0))
    return out.getvalue()


def _program(folder: Path) -> bytes:
    path = folder / "model.pt2"
    size = torch.export.Dim("n")
    inputs = (torch.zeros(2, 3),)
    torch.export.save(
        torch.export.export(torch.nn.Linear(3, 2), inputs, dynamic_shapes=({0: size},)), path
    )
    return path.read_bytes()


_PROMPT = {
    "model": "words",
    "prompt": "ab",
    "max_tokens": 4,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 1,
    "stop": ["a", "cd"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 1,
    "logit_bias": {},
    "user": "x",
}
_SAID = [{"role": "system", "content": "a"}, {"role": "user", "content": "ab \u00e9"}]
_CSV = b'id,name,"x y"\n1,a,0.5\n2,"b, c",1.5\n3,,\n'
_LINES = b'{"a": 1, "b": {"c": [1, 2]}, "d": "x"}\n{"a": 2.5, "b": null, "d": "\\u00e9"}\n'
_REPORT = {
    "trainerStatus": {
        "progressPercentage": 40,
        "estimatedRemainingSeconds": 12,
        "metrics": [{"name": "loss", "value": "0.5"}, {"name": "epoch", "value": "2"}],
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
    }
}
_ERROR = {"error": {"reason": "InputMalformed", "message": "line 4: 3 fields", "rank": 0}}


def targets(folder: Path) -> dict[str, Target]:
    """All of them; ``folder`` is for what they share, which takes seconds to make."""
    model = made(folder)
    world = World(world_manifest())
    world.settle()
    served = load(model.payload())
    rows = model.rows("test")[:2]
    weights = save({"w": np.zeros((4, 2), np.float32)})
    config = {"model_type": "llama", "vocab_size": 300, "num_hidden_layers": 1}
    small = {
        **config,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "max_position_embeddings": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    learned = tokenizer.learn(["ab ab cd"] * 9, 258, "<|endoftext|>").text.encode()
    model_of_words = _writer(folder, learned)
    beside = {"tokenizer.json": learned, "chat_template.jinja": chat.DEFAULT.encode()}
    manifests = [_bytes(GOOD[name]) for name in sorted(GOOD)]
    dataset = (folder / "dataset/manifest.json").read_bytes()
    built_in = folder / "model"
    own = {name: (built_in / name).read_bytes() for name in ("config.json", "model.safetensors")}
    failed = (StageFailure,)
    return {
        "manifests": Target(
            [yaml.safe_dump(GOOD[name]).encode() for name in sorted(GOOD)],
            _manifest,
            (ManifestError,),
        ),
        "payloads": Target([_bytes(model.payload().to_dict())], _payload, (ValidationError,)),
        "progress reports": Target([_bytes(_REPORT)], _report, (ValueError,)),
        "termination messages": Target([_bytes(_ERROR), b"Killed"], _termination),
        "validate": Target(manifests, _cli("validate")),
        "explain": Target([_bytes(world.manifest), *manifests[:1]], _cli("explain", "-f")),
        "zip archives": Target([_zip(_CSV)], _input("data.zip", "csv"), failed),
        "gzip": Target([gzip.compress(_CSV, mtime=0)], _input("data.csv.gz", "csv"), failed),
        "bzip2": Target([bz2.compress(_CSV)], _input("data.csv.bz2", "csv"), failed),
        "CSV": Target([_CSV, b"a;b\n1,5;2\n", b"a\tb\n1\t2\n"], _input("data.csv", "csv"), failed),
        "JSON": Target([_LINES, b'[{"a": 1}]'], _input("data.json", "json"), failed),
        "Parquet": Target([_parquet()], _input("data.parquet", "parquet"), failed),
        "npz as CSV": Target([_npy()], _input("data.csv", "csv"), failed),
        "manifest.json": Target([dataset], _in_folder("manifest.json", _dataset, {}), failed),
        "config.json of ours": Target(
            [own["config.json"]],
            _in_folder("config.json", load_model, {"model.safetensors": own["model.safetensors"]}),
            failed,
        ),
        "weights of ours": Target(
            [own["model.safetensors"]],
            _in_folder("model.safetensors", load_model, {"config.json": own["config.json"]}),
            failed,
        ),
        "pretrained weights": Target(
            [weights],
            _in_folder(
                "model.safetensors", lambda at: look_at("x", at), {"config.json": _bytes(config)}
            ),
            failed,
        ),
        "pretrained config.json": Target(
            [_bytes(config)],
            _in_folder("config.json", lambda at: look_at("x", at), {"model.safetensors": weights}),
            failed,
        ),
        "weights in several files": Target(
            [_bytes({"metadata": {}, "weight_map": {"w": "a.safetensors"}})],
            _in_folder(
                "model.safetensors.index.json",
                lambda at: look_at("x", at),
                {"config.json": _bytes(config), "a.safetensors": weights},
            ),
            failed,
        ),
        "models that a config describes": Target(
            [_bytes(small)],
            _in_folder("config.json", _described, {"model.safetensors": _weights_of(small)}),
            failed,
        ),
        "tokenizer_config.json": Target(
            [
                _bytes(
                    {"eos_token": {"content": "<|endoftext|>"}, "chat_template": "{{ bos_token }}"}
                )
            ],
            _in_folder("tokenizer_config.json", _words, beside),
            (ValueError,),
        ),
        "generation_config.json": Target(
            [_bytes({"eos_token_id": [0, 1], "top_k": 20})],
            _in_folder("generation_config.json", _stops, beside),
        ),
        "tokenizer.json": Target([learned], _in_folder("tokenizer.json", _tokenizer, {}), failed),
        "model.pt2": Target(
            [_program(folder)],
            _in_folder("model.pt2", lambda at: copy_safely(at / "model.pt2", at / "copy.pt2"), {}),
            (RefusedArchive,),
        ),
        "the outside of model.onnx": Target(
            [_graph()], _in_folder("model.onnx", check_model, {}), failed
        ),
        "folders of git": Target([_tree()], _checkout, failed),
        "metrics.json of own code": Target(
            [_bytes({"dice": 0.9, "recall@10": 1, "loss": -2.5e-3})],
            _in_folder("metrics.json", lambda at: metrics_of(at, "evaluate.py"), {}),
            failed,
        ),
        "envelopes of releases": Target(
            [sealed({"x": 1}, KEY).encode()],
            lambda data, _: opened(data, KEY.public_key()),
            (ReleaseError,),
        ),
        "requests of predictions": Target(
            [_bytes(request(rows, [*served.inputs]))],
            lambda data, _: _asked(data, served),
            (protocol.BadRequest,),
        ),
        "requests of completions": Target(
            [_bytes(_PROMPT), _bytes({"prompt": ["ab"]})],
            lambda data, _: _read(data, model_of_words, chat=False),
            (completions.BadRequest,),
        ),
        "requests of answers": Target(
            [_bytes({"messages": _SAID, "max_completion_tokens": 4})],
            lambda data, _: _read(data, model_of_words, chat=True),
            (completions.BadRequest,),
        ),
    }


def _writer(folder: Path, learned: bytes) -> Any:
    """What reads a prompt, without a network that would go on with it."""
    place = folder / "words"
    place.mkdir()
    (place / "tokenizer.json").write_bytes(learned)
    (place / "chat_template.jinja").write_text(chat.DEFAULT)
    writer = object.__new__(Writer)
    writer._lock, writer._reader = threading.Lock(), Tokenizer(place)
    writer.conversation(_SAID)  # starts the process of templates, which takes seconds
    return SimpleNamespace(writer=writer, limit=64)


def _read(data: bytes, model: Any, *, chat: bool) -> None:
    asked = completions.read(data, "words", model, chat=chat)
    assert 1 <= asked.options.tokens <= model.limit - len(asked.prompt)
    assert all(isinstance(one, int) for one in asked.prompt)


def _asked(data: bytes, served: Any) -> None:
    protocol.read(data, served, 1000)


def _tree() -> bytes:
    """Of git: a file, a link to it, a submodule and the folder itself once more."""
    tree = Tree()
    tree.add(b"train.py", 0o100644, _CODE.id)
    tree.add(b"link", 0o120000, _LINK.id)
    tree.add(b"module", 0o160000, _CODE.id)
    inner = Tree()
    inner.add(b"data.py", 0o100755, _CODE.id)
    tree.add(b"lib", 0o40000, inner.id)
    return tree.as_raw_string()


class _Objects(dict[bytes, tuple[int, bytes]]):
    """Of git, by their hashes: read when they are asked for, as those of a pack are."""

    def put(self, kind: int, name: bytes, data: bytes) -> bytes:
        key = hashlib.sha1(b"%s %d\0" % (name, len(data)) + data).hexdigest().encode()
        self[key] = (kind, data)
        return key

    def __getitem__(self, key: bytes) -> Any:
        return ShaFile.from_raw_string(*super().__getitem__(key))


def _checkout(data: bytes, folder: Path) -> None:
    objects = _Objects()
    objects.put(3, b"blob", _CODE.data)
    objects.put(3, b"blob", _LINK.data)
    objects.put(2, b"tree", b"100755 data.py\0" + bytes.fromhex(_CODE.id.decode()))
    who = b"a <a@example.org> 0 +0000"
    lines = (b"tree " + objects.put(2, b"tree", data), b"author " + who, b"committer " + who)
    key = objects.put(1, b"commit", b"\n".join([*lines, b"", b""]))
    (folder / "code").mkdir()
    git = GitRef(url="https://git.example.org/a", commit=key.decode())
    checkout.write(objects, git, folder / "code")
    assert [path.name for path in folder.iterdir()] == ["code"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def _graph() -> bytes:
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:]
    )
    return bytes(onnx.helper.make_model(graph).SerializeToString())


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
