"""Stage 2: a gang of PyTorch pods."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints
from pydantic.alias_generators import to_camel

from ..base import Model, Rule, exactly_one_of
from .boosting import GradientBoosting
from .code import OWN, PROGRAM_RULES, OwnProgram
from .common import Column, Location
from .export import Export
from .patterns import BALANCED
from .resources import Resources
from .search import Search, check
from .transformer import Pretrained, Transformer

Rate = Annotated[float, Field(gt=0, le=100)]
Decay = Annotated[float, Field(ge=0, le=10)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
# By how the class is written.
ClassWeights = (
    Annotated[str, StringConstraints(max_length=8, pattern=BALANCED)]
    | Annotated[
        dict[Annotated[str, StringConstraints(max_length=4096)], Weight],
        Field(min_length=1, max_length=1000),
    ]
)

# Settings of the built-in training loop. User code has its own: accepting them
# beside a command or a script would be accepting and ignoring them.
BUILT_IN_ONLY = (
    "optimizer",
    "schedule",
    "early_stopping",
    "epochs",
    "batch_size",
    "precision",
    "checkpoint",
    "class_weights",
    "sample_weight",
    "target_transform",
    "gradient_accumulation",
    "gradient_clip",
    "tokens",
    "sharding",
    "activation_checkpointing",
    "compile",
    "ema",
    "search",
)
# Of those and their like, what a checkpoint of the built-in training is of: it cannot be gone on
# from with others.
CHECKPOINTED = (
    "model",
    "optimizer",
    "schedule",
    "early_stopping",
    "epochs",
    "batch_size",
    "precision",
    "seed",
    "class_weights",
    "sample_weight",
    "target_transform",
    "gradient_clip",
    "tokens",
    "ema",
    "search",
)
# CEL does not see a field of several types.
_UNSEEN = ("class_weights",)
# What trees have of them, too.
_OF_TREES = ("early_stopping", "class_weights", "sample_weight", "target_transform", "search")
_OF_NETWORKS = [name for name in BUILT_IN_ONLY if name not in _OF_TREES]
_IN_MANIFEST = [to_camel(name) for name in BUILT_IN_ONLY]
_OF_BUILT_IN = f"{', '.join(_IN_MANIFEST)} belong to built-in models; own code sets its own"


class Dataset(Location):
    """A prepared dataset: a folder written by a preprocess stage (`…/dataset`)."""


class Mlp(Model):
    """A multi-layer perceptron over the feature columns."""

    hidden: Annotated[list[Annotated[int, Field(ge=1, le=65536)]], Field(max_length=32)] = Field(
        default_factory=lambda: [64, 64],
        description="Width of each hidden layer, none for a linear model.",
    )
    activation: Literal["relu", "tanh", "gelu", "silu", "sigmoid"] = Field(
        "relu", description="Non-linearity after each hidden layer."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of activations dropped after each hidden layer in training."
    )


class BuiltInModel(Model):
    """A model that needs no code: exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("mlp", "gradient_boosting", "transformer", "pretrained"),
    )

    mlp: Mlp | None = Field(None, description="A multi-layer perceptron.")
    gradient_boosting: GradientBoosting | None = Field(
        None, description="Trees, for tables with categories and nulls; one pod."
    )
    transformer: Transformer | None = Field(
        None, description="A language model: a decoder-only transformer."
    )
    pretrained: Pretrained | None = Field(
        None, description="A language model that is there, to be trained further."
    )

    @property
    def of_language(self) -> bool:
        """Whether it is a language model."""
        return self.mlp is None and self.gradient_boosting is None


class Sgd(Model):
    """torch.optim.SGD."""

    learning_rate: Rate = Field(0.01, description="Step size.")
    momentum: Beta = Field(0.0, description="Momentum.")
    nesterov: bool = Field(False, description="Nesterov momentum.")
    weight_decay: Decay = Field(0.0, description="L2 penalty.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.nesterov || self.momentum > 0.0",
            message="nesterov needs a momentum above 0",
            holds=lambda self: not self.nesterov or self.momentum > 0,
        ),
    )


class Adam(Model):
    """torch.optim.Adam."""

    learning_rate: Rate = Field(0.001, description="Step size.")
    beta1: Beta = Field(0.9, description="Decay of the first moment.")
    beta2: Beta = Field(0.999, description="Decay of the second moment.")
    weight_decay: Decay = Field(0.0, description="L2 penalty.")


class AdamW(Adam):
    """torch.optim.AdamW."""

    weight_decay: Decay = Field(0.01, description="Decoupled weight decay.")


class Optimizer(Model):
    """Exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("sgd", "adam", "adamw"),)

    sgd: Sgd | None = Field(None, description="Stochastic gradient descent.")
    adam: Adam | None = Field(None, description="Adam.")
    adamw: AdamW | None = Field(None, description="Adam with decoupled weight decay.")


WarmUp = Annotated[int, Field(ge=0, le=1000000)]


class CosineSchedule(Model):
    """Warm up linearly, then fall along a half cosine to the end of training."""

    warmup_steps: WarmUp = Field(0, description="Steps from 0 to the full learning rate.")
    min_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Last learning rate as a share of the first."
    )


class LinearSchedule(Model):
    """Warm up linearly, then fall along a line to the end of training."""

    warmup_steps: WarmUp | None = Field(
        None, description="Steps from 0 to the full learning rate; none when unset."
    )
    min_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Last learning rate as a share of the first; 0 when unset."
    )


class ConstantSchedule(Model):
    """Warm up linearly, then stay."""

    warmup_steps: WarmUp = Field(description="Steps from 0 to the full learning rate.")


class StepSchedule(Model):
    """Multiply the learning rate every so many epochs."""

    every_epochs: Annotated[int, Field(ge=1, le=100000)] = Field(description="How often.")
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.1, description="By how much.")


class Schedule(Model):
    """The learning rate over time: exactly one of the fields; constant when unset."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("cosine", "linear", "constant", "step"),)

    cosine: CosineSchedule | None = Field(None, description="Warm-up and cosine.")
    linear: LinearSchedule | None = Field(None, description="Warm-up and a line down.")
    constant: ConstantSchedule | None = Field(None, description="Warm-up alone.")
    step: StepSchedule | None = Field(None, description="Steps down.")


class EarlyStopping(Model):
    """Stop when the validation loss no longer falls, and keep the best weights."""

    patience: Annotated[int, Field(ge=1, le=10000)] = Field(
        3, description="Epochs without improvement before stopping."
    )
    min_delta: Annotated[float, Field(ge=0, le=1000)] = Field(
        0.0, description="What counts as an improvement of the loss."
    )


class Checkpoint(Model):
    """When the state of training is saved, and how many states are kept."""

    every_steps: Annotated[int, Field(ge=1, le=1000000000)] | None = Field(
        None, description="Every so many optimizer steps."
    )
    every_seconds: Annotated[int, Field(ge=1, le=86400)] | None = Field(
        None, description="Every so many seconds (30 when neither is set)."
    )
    keep: Annotated[int, Field(ge=1, le=100)] = Field(
        2, description="Newest checkpoints kept; a truncated one falls back on the one before."
    )


class Train(OwnProgram):
    """Distributed training: `nodes` pods of `procsPerNode` processes."""

    resumable: ClassVar[tuple[str, ...]] = ("template", "nodes")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"has(self.model) != {OWN}",
            message="either model, or own code (script, code, command), must be set",
            holds=lambda self: (self.model is not None) != self.own_code,
        ),
        *PROGRAM_RULES,
        Rule(
            cel=f"{OWN} || !has(self.streamDataset)",
            message="streamDataset needs a command, a script or code: a model streams by itself",
            holds=lambda self: self.stream_dataset is None or self.own_code,
        ),
        Rule(
            cel="has(self.model) || !("
            + " || ".join(
                f"has(self.{to_camel(name)})" for name in BUILT_IN_ONLY if name not in _UNSEEN
            )
            + ")",
            message=_OF_BUILT_IN,
            holds=lambda self: (
                self.model is not None
                or all(getattr(self, name) is None for name in BUILT_IN_ONLY if name not in _UNSEEN)
            ),
        ),
        Rule(
            cel=None,
            message=_OF_BUILT_IN,
            holds=lambda self: self.model is not None or self.class_weights is None,
            schema={"anyOf": [{"required": ["model"]}, {"not": {"required": ["classWeights"]}}]},
        ),
        Rule(
            cel="(!has(self.tokens) && !has(self.activationCheckpointing) && !has(self.compile)) "
            "|| (has(self.model) && (has(self.model.transformer) || has(self.model.pretrained)))",
            message="tokens, activationCheckpointing and compile need model.transformer or "
            "model.pretrained",
            holds=lambda self: (
                (self.tokens, self.activation_checkpointing, self.compile) == (None, None, None)
                or (self.model is not None and self.model.of_language)
            ),
        ),
        Rule(
            cel="!has(self.model) || !has(self.model.gradientBoosting) || !("
            + " || ".join(f"has(self.{to_camel(name)})" for name in _OF_NETWORKS)
            + ")",
            message=f"{', '.join(map(to_camel, _OF_NETWORKS))} are about networks: "
            "model.gradientBoosting has its own iterations and learningRate",
            holds=lambda self: (
                self.model is None
                or self.model.gradient_boosting is None
                or all(getattr(self, name) is None for name in _OF_NETWORKS)
            ),
        ),
        Rule(
            cel="!has(self.model) || !has(self.model.gradientBoosting) || "
            "(self.nodes == 1 && self.procsPerNode == 1)",
            message="model.gradientBoosting trains in one process, by all CPUs of its pod: nodes "
            "and procsPerNode must be 1",
            holds=lambda self: (
                self.model is None
                or self.model.gradient_boosting is None
                or (self.nodes, self.procs_per_node) == (1, 1)
            ),
        ),
        Rule(
            cel="!has(self.export) || (has(self.model) && has(self.model.mlp))",
            message="export needs model.mlp: of other models there are no variants",
            holds=lambda self: (
                self.export is None or (self.model is not None and self.model.mlp is not None)
            ),
        ),
        Rule(
            cel=None,
            message="search: each setting must be one that train takes",
            holds=lambda self: self.search is None or check(self, self.search),
        ),
        Rule(
            cel="!has(self.tokens) || !has(self.epochs)",
            message="tokens and epochs both say when training ends: set one of them",
            holds=lambda self: self.tokens is None or self.epochs is None,
        ),
        Rule(
            cel="!has(self.sharding) || self.sharding != 'hybrid' || "
            "(self.nodes > 1 && self.procsPerNode > 1)",
            message="sharding hybrid divides a model over the processes of a node and repeats it "
            "on each node: nodes and procsPerNode must be above 1",
            holds=lambda self: (
                self.sharding != "hybrid" or (self.nodes > 1 and self.procs_per_node > 1)
            ),
        ),
    )

    dataset: Dataset | None = Field(
        None, description="A prepared dataset, for a job without preprocess."
    )
    nodes: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="Number of training pods.")
    procs_per_node: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Processes in each pod, usually one per GPU."
    )
    resources: Resources | None = Field(None, description="Resources of each pod.")
    model: BuiltInModel | None = Field(
        None, description="A model that needs no code: one of the fields."
    )
    stream_dataset: bool | None = Field(
        None,
        description="Own code: leave the rows of a remote dataset where `TRAININGJOB_INPUT_URI` "
        "says.",
    )
    optimizer: Optimizer | None = Field(
        None, description="Built-in models: one of the optimizers; `adam` when unset."
    )
    schedule: Schedule | None = Field(
        None,
        description="Built-in models: the learning rate over time, one of the fields; constant "
        "when unset.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Built-in models: stop on the validation loss; never when unset."
    )
    epochs: Annotated[int, Field(ge=1, le=100000)] | None = Field(
        None,
        description="Built-in models: passes over the training split; 10 when unset, of a "
        "transformer 1.",
    )
    batch_size: Annotated[int, Field(ge=1, le=10000000)] | None = Field(
        None,
        description="Built-in models: rows per optimizer step over all processes together; "
        "32 when unset.",
    )
    tokens: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        None,
        description="Transformers: instead of `epochs`, how many tokens are learned from, in whole "
        "steps.",
    )
    gradient_accumulation: Annotated[int, Field(ge=1, le=100000)] | None = Field(
        None,
        description="Built-in models: parts that each process computes its share of a batch in, "
        "one after the other, so that less memory suffices; 1 when unset.",
    )
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="Built-in models: the largest norm of a step's gradient; unset: any."
    )
    precision: Literal["auto", "fp32", "bf16"] | None = Field(
        None,
        description="Built-in models: `auto` (when unset) is bf16 for layers of language models on "
        "GPUs that have it, else fp32.",
    )
    sharding: Literal["auto", "none", "full", "hybrid"] | None = Field(
        None,
        description="Built-in models: how weights, gradients and optimizer lie on the processes. "
        "`none`: each has all; `full`: divided over all; `hybrid`: divided over those of a node; "
        "`auto` (when unset): `full` of a transformer, else `none`.",
    )
    activation_checkpointing: bool | None = Field(
        None,
        description="Transformers: keep the inputs of layers alone and compute the rest again: "
        "less memory, a third more work.",
    )
    compile: bool | None = Field(
        None, description="Transformers: torch.compile the layers; needs a C++ compiler."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Built-in models: the model is the exponential moving average of the weights "
        "of all steps, with this decay, e.g. 0.999; validation judges it.",
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="Built-in models: what the rows of each class count in the training loss: "
        "`balanced`, by rows / (classes · rows of the class), or a weight by class, 1 for those "
        "that are not named. Validation and evaluation count every row once.",
    )
    sample_weight: Column | None = Field(
        None,
        description="Built-in models: a column of what each row counts in the training loss, "
        "numbers from 0 on; it is no feature. Validation and evaluation count every row once.",
    )
    target_transform: Literal["standardize", "log1p"] | None = Field(
        None,
        description="Built-in models of regression: what is learned of the label, to which "
        "predictions and metrics are brought back. `log1p`: its log(1 + x), standardized, for "
        "values above -1 of many sizes; `standardize`, as when unset: its distance from the mean "
        "in standard deviations.",
    )
    checkpoint: Checkpoint | None = Field(
        None, description="Built-in models: when state is saved; every 30 s when unset."
    )
    export: Export | None = Field(
        None, description="mlp: further forms of the model, which evaluation judges, too."
    )
    search: Search | None = Field(
        None, description="Built-in models: find the settings by which they learn best."
    )
    seed: Annotated[int, Field(ge=0, le=2147483647)] = Field(
        0, description="Of weights, order of rows and dropout; own code sees `TRAININGJOB_SEED`."
    )
