"""Hugging Face's Trainer on a model of its own kind; it resumes by itself."""

import digits
import torch
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Config(PretrainedConfig):
    model_type = "digits"


class Network(PreTrainedModel):
    """A classifier as the Trainer wants it: loss and logits."""

    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.hidden = torch.nn.Linear(digits.FEATURES, 64)
        self.out = torch.nn.Linear(64, digits.CLASSES)
        self.post_init()

    def forward(self, pixels, labels=None):
        logits = self.out(self.hidden(pixels).relu())
        if labels is None:
            return {"logits": logits}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class Power(TrainerCallback):
    """Once a checkpoint is written."""

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            digits.power(round(state.epoch) - 1)


def rows(split):
    features, classes = digits.load(split)
    return [{"pixels": x, "labels": y} for x, y in zip(features, classes, strict=True)]


def main():
    set_seed(1)
    trainer = Trainer(
        model=Network(Config()),
        args=TrainingArguments(
            output_dir=str(digits.CHECKPOINTS),
            num_train_epochs=digits.EPOCHS,
            per_device_train_batch_size=16,
            learning_rate=0.01,
            save_strategy="epoch",
            logging_steps=10,
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=rows("train"),
        callbacks=[Power()],
    )
    trainer.train(resume_from_checkpoint=digits.RESUME_FROM)
    print("wrapped by", type(trainer.model_wrapped).__name__)
    trainer.save_model(str(digits.MODEL))
    found = trainer.predict(rows("test")).predictions
    if trainer.is_world_process_zero():
        digits.predict(torch.from_numpy(found).softmax(1).numpy())


if __name__ == "__main__":
    main()
