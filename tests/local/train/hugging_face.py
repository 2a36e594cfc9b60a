"""A script for Hugging Face's Trainer. It knows nothing of us but where data and model lie."""

import os
from pathlib import Path

import pandas as pd
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

frame = pd.read_parquet(Path(os.environ["TRAININGJOB_INPUT_DIR"]) / "train")
labels = frame.pop("target").astype(int)
# A pixel is a token of 17, a row of them a sentence.
rows = [
    {"input_ids": torch.tensor(tokens), "labels": torch.tensor(label)}
    for tokens, label in zip(frame.astype(int).to_numpy(), labels, strict=True)
]
config = BertConfig(
    vocab_size=17,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=frame.shape[1],
    num_labels=10,
)
trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        output_dir=os.environ["TRAININGJOB_CHECKPOINT_DIR"],
        max_steps=int(os.environ["STEPS"]),
        logging_steps=10,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=rows,
)
trainer.train()
trainer.save_model(os.environ["TRAININGJOB_OUTPUT_DIR"])
