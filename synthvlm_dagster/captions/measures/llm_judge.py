"""The judge: a language model behind an OpenAI-compatible endpoint says yes or no to each caption (SynthVLM §3.1)."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from synthvlm_dagster.captions.measures.measurements import VALUES_SCHEMA
from synthvlm_dagster.errors import EndpointError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.progress import SECONDS_BETWEEN_REPORTS
from synthvlm_dagster.recipe import LlmJudge

if TYPE_CHECKING:
    import openai

FAILURES_IN_A_ROW = 20
"""How many requests may end without a verdict one after the other before the judge stops asking."""

_SHOWN = 200
_REASONING = re.compile(r".*</(?:think|thinking|reasoning)>", re.IGNORECASE | re.DOTALL)
_VERDICT = re.compile(r"[\W_]*(yes|no)(?![^\W_])", re.IGNORECASE)


class LlmVerdicts:
    """A `Measure`: 1.0 where the language model answers yes, 0.0 where it answers no.

    `identity` is made of the model's name, the question and the length of the answer. The endpoint is left out: a
    server that moves to another port, or a model that another provider serves, is not asked a million questions again.

    Args:
        rule: endpoint, model, question and limits. The endpoint is first contacted by `measure`.
    """

    name = "judge"
    looks_at_images = False
    extras = pl.Schema({"prompt_tokens": pl.Int64, "completion_tokens": pl.Int64})

    def __init__(self, rule: LlmJudge) -> None:
        self.identity = fingerprint(rule.model, rule.question, rule.max_tokens)
        self._rule = rule

    def measure(self, captions: pl.DataFrame, on_progress: Callable[[str], None]) -> Iterator[pl.DataFrame]:
        """Ask about each caption, `concurrency` at a time; see `Measure.measure`.

        A question keeps its place among the `concurrency` until the caller has taken the frame after its answer's,
        that is, has stored it: a process killed at any moment has asked at most `concurrency` questions in vain.

        Yields:
            Frames of the answers since the last one. value is null, with the problem, where the answer is neither yes
            nor no, or where the endpoint refuses this caption. The token counts are null where the endpoint does not
            tell them.

        Raises:
            EndpointError: the extra `judge` is not installed, the endpoint cannot be reached, it refuses the key or
                does not know the model, or FAILURES_IN_A_ROW requests one after the other gave no verdict. What was
                answered before has been yielded.
        """
        _require_openai()
        answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        unstored = asyncio.Semaphore(self._rule.concurrency)
        tally = _Tally(self._rule, captions.height)
        with _event_loop_in_a_thread() as loop:
            asking = asyncio.run_coroutine_threadsafe(self._ask_all(captions, answers.put, unstored), loop)
            asking.add_done_callback(lambda _: answers.put(None))
            more = True
            while more:
                batch, more = _take(answers)
                causes_to_stop = [cause for answer in batch if (cause := tally.count(answer))]
                if batch:
                    yield _frame(batch)
                if causes_to_stop:
                    raise EndpointError(causes_to_stop[0])
                loop.call_soon_threadsafe(_release, unstored, len(batch))
                if tally.is_due:
                    on_progress(tally.report())
            asking.result()
        on_progress(tally.report())

    async def _ask_all(
        self, captions: pl.DataFrame, on_answer: Callable[[_Answer], None], unstored: asyncio.Semaphore
    ) -> None:
        async def ask(key: str, text: str) -> None:
            on_answer(await self._ask(client, key, text))

        async with self._client() as client, asyncio.TaskGroup() as under_way:
            for key, text in captions.select("key", "text").iter_rows():
                await unstored.acquire()
                under_way.create_task(ask(key, text))

    def _client(self) -> openai.AsyncOpenAI:
        import openai

        async def wait_for_a_turn(_: object) -> None:
            await turns.next()

        turns = _Turns(self._rule.requests_per_minute)
        return openai.AsyncOpenAI(
            base_url=self._rule.base_url,
            # A local server asks for no key, but the client does.
            api_key=_key(self._rule) or "none",
            timeout=self._rule.timeout_seconds,
            max_retries=self._rule.max_retries,
            # A hook, because the client's own retries must wait for a turn too.
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [wait_for_a_turn]}),
        )

    async def _ask(self, client: openai.AsyncOpenAI, key: str, text: str) -> _Answer:
        import openai

        try:
            completion = await client.chat.completions.create(
                model=self._rule.model,
                messages=[{"role": "user", "content": self._rule.question.replace("{caption}", text)}],
                temperature=0,
                max_tokens=self._rule.max_tokens,
            )
        except openai.APIStatusError as error:
            problem = f"HTTP {error.status_code}: {_beginning(error.message)}"
            return _Answer(key, problem=problem, status=error.status_code)
        except openai.APIConnectionError as error:
            cause = _beginning(str(error.__cause__ or ""))
            return _Answer(key, problem=" ".join(filter(None, [error.message, cause])), status=None)
        except (openai.APIError, ValueError) as error:
            return _Answer(key, problem=f"not a chat completion: {_beginning(str(error))}")
        return _read(key, completion)


def judge_cost(prompt_tokens: float, completion_tokens: float, rule: LlmJudge) -> float:
    """What the tokens cost at the recipe's prices, in dollars."""
    input_price, output_price = rule.price_per_million_input_tokens, rule.price_per_million_output_tokens
    return (prompt_tokens * input_price + completion_tokens * output_price) / 1e6


def verdict(answer: str) -> bool | None:
    """What an answer's first word says, whatever its case and the marks around it; reasoning in tags is skipped.

    Returns:
        True for yes, False for no, None for anything else, reasoning that was cut off included.
    """
    match = _VERDICT.match(_REASONING.sub("", answer, count=1))
    return match[1].lower() == "yes" if match else None


@dataclass(frozen=True)
class _Answer:
    """What became of one question; status is the response's HTTP status, None when there was no response."""

    key: str
    value: float | None = None
    problem: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    status: int | None = 200


class _Tally:
    """Counts the answers, and knows when asking on is of no use."""

    def __init__(self, rule: LlmJudge, total: int) -> None:
        self._rule = rule
        self._total = total
        self._done = self._without_verdict = self._failed_in_a_row = 0
        self._prompt_tokens = self._completion_tokens = 0
        self._was_reached = self._was_admitted = False
        self._started = self._reported = time.monotonic()

    def count(self, answer: _Answer) -> str | None:
        """Add an answer; returns why no more should be asked, if so."""
        self._done += 1
        self._prompt_tokens += answer.prompt_tokens or 0
        self._completion_tokens += answer.completion_tokens or 0
        if answer.value is None:
            self._without_verdict += 1
            self._failed_in_a_row += 1
        else:
            self._failed_in_a_row = 0
        self._was_reached |= answer.status is not None
        self._was_admitted |= answer.status == 200
        return self._cause_to_stop(answer)

    def _cause_to_stop(self, answer: _Answer) -> str | None:
        rule = self._rule
        if answer.status is None and not self._was_reached:
            return (
                f"{rule.base_url} gave no response to the judge's first question, asked {rule.max_retries + 1} times: "
                f"{answer.problem} Check that the server is running and that curation.rules.judge.base_url is right"
            )
        # Some providers also answer 403 when they find a single caption indecent.
        if answer.status == 401 or (answer.status == 403 and not self._was_admitted):
            key = "refuses the key that is in" if _key(rule) else "asks for a key: put it into"
            return f"{rule.base_url} {key} the environment variable {rule.api_key_variable} (HTTP {answer.status})"
        if answer.status == 404:
            return (
                f"{rule.base_url} does not know the model {rule.model!r} ({answer.problem}). Correct "
                "curation.rules.judge.model or base_url, which mostly ends in /v1"
            )
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            return (
                f"{rule.model!r} at {rule.base_url} gave no verdict to {self._failed_in_a_row} questions in a row; "
                f"the last: {answer.problem}. The verdicts so far are kept; the next run asks the rest"
            )
        return None

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS

    def report(self) -> str:
        self._reported = time.monotonic()
        rate = self._done / max(self._reported - self._started, 1e-3)
        dollars = judge_cost(self._prompt_tokens, self._completion_tokens, self._rule)
        return (
            f"judge: {self._done:,} of {self._total:,} captions, {rate:.1f} per second, "
            f"{self._prompt_tokens:,} + {self._completion_tokens:,} tokens (${dollars:,.2f}), "
            f"{self._without_verdict:,} without a verdict"
        )


class _Turns:
    """Spaces requests evenly, so that no minute sees more of them than allowed.

    Args:
        per_minute: most requests in a minute; None: no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def next(self) -> None:
        """Wait until a request may be sent."""
        now = time.monotonic()
        turn = max(self._next, now)
        self._next = turn + self._interval
        if turn > now:
            await asyncio.sleep(turn - now)


@contextmanager
def _event_loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs while the caller does something else; what is left in it is cancelled at the end."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()

    def run() -> None:
        with runner:
            loop.run_forever()

    # A daemon, so that a generator that nobody closed does not keep the interpreter from ending.
    thread = threading.Thread(target=run, name="judge", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _take(answers: queue.SimpleQueue[_Answer | None]) -> tuple[list[_Answer], bool]:
    """What was answered since the last call, after waiting for something to be there, and whether more will come."""
    batch: list[_Answer | None] = []
    try:
        batch.append(answers.get(timeout=SECONDS_BETWEEN_REPORTS))
        while True:
            batch.append(answers.get_nowait())
    except queue.Empty:
        return [answer for answer in batch if answer is not None], None not in batch


def _release(unstored: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        unstored.release()


def _read(key: str, completion: object) -> _Answer:
    """The verdict in a response; servers that are not quite compatible leave out or misplace any part of it."""
    usage = getattr(completion, "usage", None)
    choice = next(iter(getattr(completion, "choices", None) or ()), None)
    content = getattr(getattr(choice, "message", None), "content", None)
    said = verdict(content) if isinstance(content, str) else None
    problem = None
    if choice is None:
        problem = f"not a chat completion: {_beginning(str(completion))}"
    elif said is None:
        reason = " (cut off at max_tokens)" if getattr(choice, "finish_reason", None) == "length" else ""
        problem = f"neither yes nor no{reason}: {_beginning(content or 'no text')}"
    return _Answer(
        key,
        value=None if said is None else float(said),
        problem=problem,
        prompt_tokens=getattr(usage, "prompt_tokens", None),
        completion_tokens=getattr(usage, "completion_tokens", None),
    )


def _frame(answers: list[_Answer]) -> pl.DataFrame:
    schema = pl.Schema([*VALUES_SCHEMA.items(), *LlmVerdicts.extras.items()])
    return pl.DataFrame([{column: getattr(answer, column) for column in schema} for answer in answers], schema=schema)


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _key(rule: LlmJudge) -> str:
    return os.environ.get(rule.api_key_variable, "").strip()


def _require_openai() -> None:
    try:
        import openai  # noqa: F401
    except ImportError as error:
        raise EndpointError(
            "curation.rules.judge needs the openai client: pip install 'synthvlm_dagster[judge]'"
        ) from error
