"""What `trainingjob run` shows on a terminal: the stages, alive."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..api.v1alpha1 import Progress, StageStatus, TrainingJob
from .text import done_words, progress_words, time_taken
from .view import stopping_words

_REFRESH_PER_SECOND = 8


class LiveView:
    """A few lines that are drawn again and again, by a thread of rich's."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._job: TrainingJob | None = None
        self._stopping = ""
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=_REFRESH_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """A remark above the stages."""
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def update(self, job: TrainingJob) -> None:
        """Show this from the next refresh on."""
        self._job = job

    def stopping(self, grace: int, at_once: bool) -> None:
        """The run was interrupted."""
        self._stopping = stopping_words(grace, at_once)

    def _render(self) -> RenderableType:
        job = self._job
        if job is None:
            return Text("starting", style="dim")
        grid = Table.grid(padding=(0, 2))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        messages = []
        for stage in job.status.stages:
            mine = job.status.progress
            progress = mine if mine is not None and mine.stage == stage.name else None
            grid.add_row(*self._row(stage, progress))
            if stage.message and stage.phase in ("Pending", "Running"):
                messages.append(Text(f"  {stage.reason}: {stage.message}", style="yellow"))
        lines: list[RenderableType] = [grid, *messages]
        if self._stopping:
            lines.append(Text(self._stopping, style="yellow"))
        return Group(*lines)

    def _row(self, stage: StageStatus, progress: Progress | None) -> list[RenderableType]:
        signs: dict[str, RenderableType] = {
            "Pending": Text("○", style="dim"),
            "Running": self._spinner,
            "Succeeded": Text("✔", style="green"),
            "Failed": Text("✘", style="red"),
        }
        begun = stage.start_time is not None
        words = Text(stage.name, style="" if begun else "dim")
        state = Text(time_taken(stage))
        attempt = Text(f"attempt {stage.attempt}" if stage.attempt > 1 else "", style="yellow")
        detail: RenderableType = Text(done_words(stage), style="dim")
        if stage.phase == "Failed":
            detail = Text(stage.reason, style="red")
        elif stage.phase == "Running" and progress is not None:
            bar = Table.grid(padding=(0, 1))
            bar.add_row(
                ProgressBar(total=100, completed=progress.percent, width=24),
                Text(f"{progress.percent}%"),
                Text("  ".join(progress_words(progress)), style="dim"),
            )
            detail = bar
        elif stage.phase == "Running" and stage.pods.desired > 1:
            detail = Text(f"{stage.pods.desired} pods", style="dim")
        return [signs[stage.phase], words, state, attempt, detail]
