"""The built-in language model, and the folder ``model/`` that holds one: as Hugging Face has it.

config.json, generation_config.json    what transformers builds it from
model.safetensors                      the weights, or several files of them and their index
tokenizer.json, tokenizer_config.json  the dataset's tokenizer

transformers is imported where it is needed alone: it takes seconds.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainingjob.api.v1alpha1.transformer import Transformer

from ..base.errors import StageFailure, is_out_of_memory
from ..base.text import listed
from .answers import stop_at_answers
from .folder import CONFIG, INDEX, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, Vocabulary, Words

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Of a file of weights; one tensor may be larger.
_FILE_BYTES = 4 * 10**9
_MULTIPLE = 64


def config_of(spec: Transformer, tokens: Vocabulary) -> PreTrainedConfig:
    """The architecture's own config, for the tokens of a dataset."""
    from transformers import AutoConfig

    wide = -(-spec.hidden * 8 // 3)
    return AutoConfig.for_model(
        spec.architecture,
        vocab_size=tokens.vocab_size,
        hidden_size=spec.hidden,
        intermediate_size=spec.feed_forward or -(-wide // _MULTIPLE) * _MULTIPLE,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.key_value_heads or spec.heads,
        head_dim=spec.hidden // spec.heads,
        max_position_embeddings=tokens.sequence_length,
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        pad_token_id=None,
        tie_word_embeddings=False,
        use_cache=True,
        dtype="float32",
    )


def build(config: PreTrainedConfig) -> nn.Module:
    """The model without weights, on the meta device."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    config.architectures = [type(model).__name__]
    return model


def layers_of(model: Any) -> Sequence[nn.Module]:
    """The layers that follow each other."""
    kinds = {*model._no_split_modules}
    return [module for module in model.modules() if type(module).__name__ in kinds]


def units_of(model: Any) -> Sequence[nn.Module]:
    """The layers between the tables of tokens. One table of both, inputs and outputs, is none of
    them: it is needed from the first to the last."""
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    layers = layers_of(model)
    return layers if first.weight is last.weight else [first, *layers, last]


def flops(model: Any, length: int) -> int:
    """Floating point operations by which a token of a row of ``length`` is learned (Chowdhery et
    al., 2022, appendix B). Of each matrix of N numbers: 2 N forward, 2 N for the gradient of its
    input, and 2 N for its own, which a frozen one has none of (Hu et al., 2021, section 4.2). And
    of attention: queries by keys and shares by values, forward and twice that backward."""
    from transformers.pytorch_utils import Conv1D

    matrices = [one.weight for one in model.modules() if isinstance(one, (nn.Linear, Conv1D))]
    products = sum((6 if one.requires_grad else 4) * one.numel() for one in matrices)
    config = model.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return products + 12 * config.num_hidden_layers * heads * width * length


def fill(
    model: Any,
    device: torch.device,
    seed: int,
    mix: Callable[[int, int], int],
    mine: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Give the model memory on the device and its first weights, by transformers' own rules for
    these architectures: norms 1, biases 0, all else normal.

    Each parameter is drawn from a generator of its own on the CPU, of which ``mine(parameter,
    whole)`` is this rank's part: the same for any number of ranks and on any device."""
    model.to_empty(device=device)
    deviation = model.config.initializer_range
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            whole = torch.empty(parameter.shape)
            if whole.dim() > 1:
                generator = torch.Generator().manual_seed(mix(seed, zlib.crc32(name.encode())))
                whole.normal_(0.0, deviation, generator=generator)
            else:
                whole.fill_(float(name.endswith("norm.weight")))
            part = mine(parameter, whole)
            local(parameter).copy_(part)
    fill_buffers(model)


def fill_buffers(model: Any) -> None:
    """Give values to what is in no state, such as frequencies of positions, once the weights have
    theirs: as from_pretrained does."""
    for tensor in (*model.parameters(), *model.state_dict(keep_vars=True).values()):
        tensor._is_hf_initialized = True
    for module in model.modules():
        module._is_hf_initialized = False
    model.initialize_weights()


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that may be divided over the ranks."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def save(
    folder: Path | None,
    config: PreTrainedConfig,
    parameters: Iterable[tuple[str, Tensor]],
    words: Words,
    tokens: Vocabulary,
) -> None:
    """Write the model into ``folder``, a file of weights in memory at a time; a rank without a
    folder only takes part in bringing the weights together. Raises OSError."""
    save_weights(folder, parameters)
    if folder is None:
        return
    from transformers import GenerationConfig

    config.save_pretrained(folder)
    GenerationConfig(bos_token_id=tokens.end, eos_token_id=tokens.end).save_pretrained(folder)
    # As it is: whoever made it, it is not run here.
    shutil.copyfile(words.tokenizer, folder / TOKENIZER)
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens.end_of_text,
        "eos_token": tokens.end_of_text,
        "model_max_length": tokens.sequence_length,
        "clean_up_tokenization_spaces": False,
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if words.template is not None:
        shutil.copyfile(words.template, folder / TEMPLATE)
        stop_at_answers(folder, tokens.end)


def save_weights(folder: Path | None, parameters: Iterable[tuple[str, Tensor]]) -> None:
    """The files of weights alone, as ``save`` writes them."""
    sizes = [(name, one.numel() * one.element_size(), one) for name, one in parameters]
    files = list(_files(sizes))
    names = (
        [WEIGHTS]
        if len(files) == 1
        else [
            f"model-{number:05}-of-{len(files):05}.safetensors"
            for number in range(1, len(files) + 1)
        ]
    )
    where: dict[str, str] = {}
    for name, some in zip(names, files, strict=True):
        held: dict[str, Tensor] = {}
        for key, one in some:
            whole = one.full_tensor() if hasattr(one, "full_tensor") else one
            if folder is not None:
                held[key] = whole.detach().cpu().contiguous()
            elif whole.is_cuda:
                # NCCL's patience with rank 0, which writes, begins where the next one is asked for.
                torch.cuda.synchronize(whole.device)
            where[key] = name
        if folder is not None:
            # Bytes first: safetensors' own save_file wraps a full disk into an error of its own.
            (folder / name).write_bytes(safetensors.torch.save(held, {"format": "pt"}))
    if folder is None:
        return
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(size for _, size, _ in sizes)}, "weight_map": where}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")


def _files(sizes: Sequence[tuple[str, int, Tensor]]) -> Iterator[list[tuple[str, Tensor]]]:
    some: list[tuple[str, Tensor]] = []
    total = 0
    for name, size, one in sizes:
        if some and total + size > _FILE_BYTES:
            yield some
            some, total = [], 0
        some.append((name, one))
        total += size
    yield some


def negative_log_likelihood(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    """Summed over the ``targets``, int [m, L], of rows of tokens, int [m, L + 1]."""
    return loss_of(logits_of(model, ids), targets)


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets that count: those from 0 on."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten().long(), reduction="sum")


def logits_of(model: nn.Module, ids: Tensor) -> Tensor:
    """float32 [m, L, tokens]: what follows each token but the last of a row."""
    logits: Tensor = model(input_ids=ids[:, :-1].long(), use_cache=False).logits
    return logits.float()


@torch.inference_mode()
def losses(
    model: Any, rows: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[float]:
    """Of each row of tokens alone, the mean negative log-likelihood, in nats, of the targets from 0
    on."""
    found = []
    for its, wanted in zip(rows, targets, strict=True):
        ids, asked = (torch.tensor([one], device=model.device) for one in (its, wanted))
        total = negative_log_likelihood(model, ids, asked)
        found.append(float(total) / max(1, int((asked >= 0).sum())))
    return found


def load(folder: Path, tokens: Vocabulary | None) -> Any:
    """A model of any architecture that transformers has, as it is used, on a GPU if there is one:
    for a dataset of ``tokens``, if it is for one.

    Raises StageFailure(ModelCorrupt) for one that cannot be built of the folder, whose code or
    weights would have to be run or unpickled, some of whose weights are not there, or that has
    fewer tokens than the dataset."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model: Any
        model, about = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise StageFailure(
            "ModelCorrupt",
            f"{folder} cannot be loaded by transformers: {' '.join(str(error).split())[:300]}",
        ) from error
    # In their place it has drawn others.
    if about["missing_keys"]:
        raise StageFailure(
            "ModelCorrupt",
            f"{folder} lacks weights of the model that its {CONFIG} describes "
            f"({listed(sorted(about['missing_keys']))}): save all of it by save_pretrained",
        )
    if tokens is not None:
        must_know(folder, model, tokens)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def must_know(folder: Path, model: Any, tokens: Vocabulary) -> None:
    """Raises StageFailure(ModelCorrupt) for a model that has fewer tokens than the dataset."""
    size = model.get_input_embeddings().num_embeddings
    if size < tokens.vocab_size:
        raise StageFailure(
            "ModelCorrupt",
            f"{folder} knows {size} tokens, and the dataset's tokenizer has {tokens.vocab_size}: "
            "it was trained with another one",
        )
