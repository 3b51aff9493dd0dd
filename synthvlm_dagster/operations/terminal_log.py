"""A console log of one short line per message, in place of Dagster's own of several hundred characters."""

import logging
import time

import dagster as dg

_STYLES = {"DEBUG": "dim", "INFO": "", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}


class TerminalLogHandler(logging.Handler):
    """Prints `12:03:44  generated_images  message` above the bars, coloured by level where the terminal can."""

    def __init__(self) -> None:
        from rich.console import Console

        from synthvlm_dagster.progress import terminal

        super().__init__()
        self._console = Console(file=terminal(), soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, unless a bar shows it; of Dagster's own events only the failures, with their cause."""
        from rich.text import Text
        from tqdm import tqdm

        from synthvlm_dagster.progress import shown_by_bar

        if shown_by_bar():
            return
        context = getattr(record, "dagster_meta", {})
        event = context.get("dagster_event")
        if event is not None and not event.is_failure and not _is_failed_check(event):
            return
        # In a run of many shards each shard's check is evaluated with its shard, and Dagster skips the common one.
        if str(context.get("orig_message")).startswith("Skipping step"):
            return
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = Text().append(f"{clock}  {context.get('step_key') or 'run':<18} ", style="dim")
        style = _STYLES.get(record.levelname, "")
        if event is None:
            message = str(context.get("orig_message") or record.getMessage())
        elif _is_failed_check(event):
            message, style = _finding_of(event.event_specific_data), "yellow"
        else:
            message = _cause_of(event)
        line.append(message, style=style)
        with tqdm.external_write_mode(file=self._console.file):
            self._console.print(line)


def _is_failed_check(event: dg.DagsterEvent) -> bool:
    check = event.event_specific_data
    return isinstance(check, dg.AssetCheckEvaluation) and not check.passed


def _finding_of(check: dg.AssetCheckEvaluation) -> str:
    return f"check {check.check_name}, {check.severity.value}: {check.description or 'did not pass'}"


def _cause_of(event: dg.DagsterEvent) -> str:
    """What went wrong, without the stack traces, which the event log in the UI has."""
    from synthvlm_dagster.operations.failures import error_inside

    cause = error_inside(getattr(event.event_specific_data, "error", None)).strip()
    return f"{event.message} {cause}" if cause else str(event.message)


@dg.logger(
    {
        "log_level": dg.Field(
            str, default_value="INFO", description="Least severe level shown: DEBUG, INFO, WARNING or ERROR."
        )
    }
)
def terminal_log(context: dg.InitLoggerContext) -> logging.Logger:
    """The console logger of every run: what a person follows, without Dagster's event details (the UI has them)."""
    log = logging.Logger("synthvlm", level=context.logger_config["log_level"])
    log.addHandler(TerminalLogHandler())
    return log
