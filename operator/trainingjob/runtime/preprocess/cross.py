"""The datasets of the folds: the steps from the division on once more for each, and its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainingjob.api.payload import PreprocessPayload
from trainingjob.api.v1alpha1.reported import StageWarning

from ..base.errors import of_fold
from ..dataset.manifest import MANIFEST, DatasetManifest, fold_folder
from ..storage import Place
from . import folds
from .account import Account
from .checks import check, choose_columns
from .engines.frame import Engine, Frame
from .notes import Notes
from .steps import run_steps
from .write import manifest_of, write_splits


class Cross:
    """The folds of one run."""

    _divided: Frame
    _done: int

    def __init__(
        self, engine: Engine, payload: PreprocessPayload, number: int, tables: Mapping[str, Frame]
    ) -> None:
        self._engine, self._payload, self._number = engine, payload, number
        self._tables = tables
        # Of each fold, once they are written: the rows of its test split. The files of all.
        self.rows: list[int] = []
        self.names: list[str] = []

    def divided(self, frame: Frame, done: int) -> Frame:
        """Rows were divided when so many steps were done; the frame of the final dataset."""
        self._divided, self._done = frame, done
        return folds.for_training(self._engine, frame)

    def write(
        self,
        place: Place,
        pipeline: Sequence[dict[str, Any]],
        notes: Notes,
        done: Callable[[float], None],
    ) -> list[str]:
        """Write them below ``place``; their digests. ``pipeline``: of the final dataset, with
        which they have the steps before the division in common.

        Raises StageFailure as the stage does, the message with the fold."""
        digests = []
        warned: list[tuple[int, StageWarning]] = []
        for fold in range(1, self._number + 1):
            own = Notes(about=f"fold {fold}: ")
            with of_fold(fold):
                name = fold_folder(fold, place.stamp)
                manifest = self._write(fold, place.below(name), pipeline, own)
            self.names += [f"{name}/{one}" for one in manifest.names]
            self.rows.append(manifest.splits["test"].rows)
            digests.append(manifest.digest)
            warned += [(fold, warning) for warning in own.warnings]
            done(fold / self._number)
        self._warn(warned, notes)
        return digests

    def _write(
        self, fold: int, place: Place, pipeline: Sequence[dict[str, Any]], notes: Notes
    ) -> DatasetManifest:
        engine, payload, task = self._engine, self._payload, self._payload.task
        frame = folds.held_out(engine, self._divided, fold - 1)
        account = Account(engine, frame, None, notes)
        account.entries.clear()  # where it begins was told
        frame, own = run_steps(
            engine,
            frame,
            payload.steps,
            task,
            payload.sample_weight,
            _is_divided,
            account,
            lambda _: None,
            self._tables,
            begin=self._done,
        )
        frame, features = choose_columns(engine, frame, task, payload.sample_weight)
        frame = engine.computed(frame)
        numeric = features if payload.numeric_features else []
        # Of a fold there must be rows.
        split = payload.split.model_copy(
            update={
                "folds": None,
                "test": 1 / self._number,
                "validation": payload.split.share("validation"),
            }
        )
        frame, summary = check(engine, frame, task, split, numeric, notes.add)
        splits = write_splits(engine, frame, summary, place)
        steps = [*pipeline[: self._done], *own]
        manifest = manifest_of(frame, task, features, summary, steps, splits, stamp=place.stamp)
        place.write(MANIFEST, manifest.text)
        return manifest

    def _warn(self, warned: Sequence[tuple[int, StageWarning]], notes: Notes) -> None:
        """Of what is not known of the final dataset: once of each kind, the log has all."""
        known = {warning.reason for warning in notes.warnings}
        for reason in dict.fromkeys(warning.reason for _, warning in warned):
            if reason in known:
                continue
            of = [(fold, warning.message) for fold, warning in warned if warning.reason == reason]
            first, message = of[0]
            same = {fold for fold, other in of if other == message}
            others = len({fold for fold, _ in of}) - 1
            which = f"fold {first}"
            if len(same) == self._number:
                which = "each fold"
            elif others:
                which += f", and {others} other{'s' if others > 1 else ''} (see the log)"
            notes.warn(reason, f"{which}: {message}")


def _is_divided(frame: Frame, where: str, done: int) -> tuple[Frame, str]:
    raise AssertionError("the rows of a fold are divided")
