"""The judge asks each caption once, outlives what endpoints do wrong, and stops when asking on is of no use."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthvlm_dagster.captions.measures.llm_judge import FAILURES_IN_A_ROW, LlmVerdicts, judge_cost, verdict
from synthvlm_dagster.errors import EndpointError
from synthvlm_dagster.recipe import LlmJudge
from synthvlm_dagster_tests.captions.measures.endpoint import QUESTION, Endpoint, Reply, endpoint, refuses, says

GOOD = [f"a good dog {number}" for number in range(40)]


def honest(caption: str, times: int) -> Reply:
    return says("Yes." if "good" in caption else "No.")


def rule(base_url: str, **changed) -> LlmJudge:
    return LlmJudge.model_validate(
        {"base_url": base_url, "model": "m", "question": QUESTION, "max_retries": 0} | changed
    )


def asked_about(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"key": [f"k{number}" for number in range(len(texts))], "text": texts, "image_uri": [None] * len(texts)},
        schema={"key": pl.String, "text": pl.String, "image_uri": pl.String},
    )


def judged(served: Endpoint, texts: list[str], said: list[str] | None = None, **changed) -> pl.DataFrame:
    """The rows of all frames, in the captions' order."""
    captions = asked_about(texts)
    frames = LlmVerdicts(rule(served.base_url, **changed)).measure(captions, print if said is None else said.append)
    return captions.select("key", "text").join(pl.concat(frames), on="key", how="left", maintain_order="left")


def judge_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "judge"]


@pytest.mark.parametrize(
    "answer",
    [
        "yes",
        "Yes.",
        "YES!",
        "**Yes**",
        "_Yes_, it is",
        '"yes"',
        "\n\n  Yes\nbecause no text is better",
        "<think>No? Perhaps no.\n</think>\n\nyes",
        "It might be bad.</think>Yes",
        "<THINKING>no</THINKING> <think>no</think> Yes",
    ],
)
def test_yes(answer):
    assert verdict(answer) is True
    assert verdict(answer.replace("no", "maybe").replace("No", "Maybe")) is True
    assert verdict(answer.replace("yes", "no").replace("Yes", "No").replace("YES", "NO")) is False


@pytest.mark.parametrize(
    "answer",
    ["", "Maybe", "not really", "Yesterday", "Nothing", "I say yes", "<think>yes", "<think>hm\nno", "N/A", "yes1"],
)
def test_neither_yes_nor_no(answer):
    assert verdict(answer) is None


@given(st.text())
def test_every_answer_has_a_reading(answer):
    assert verdict(answer) in (True, False, None)
    assert verdict(f"<think>{answer}</think> no.") is False


def test_verdicts_tokens_and_what_is_sent(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret\n")
    texts = ["a good {caption} {0}", "bad \\1 \u2028 text", "good: 犬 😊"]
    said = []
    with endpoint(honest) as served:
        table = judged(served, texts, said, api_key_variable="MY_KEY", max_tokens=3)
    assert table["value"].to_list() == [1.0, 0.0, 1.0]
    assert table.schema == {
        "key": pl.String,
        "text": pl.String,
        "value": pl.Float64,
        "problem": pl.String,
        "prompt_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
    }
    assert table["prompt_tokens"].to_list() == [7, 7, 7]
    assert table["completion_tokens"].to_list() == [2, 2, 2]
    assert served.asked == dict.fromkeys(texts, 1)
    assert served.keys == {"Bearer secret"}
    request = next(sent for sent in served.requests if "{0}" in sent["messages"][0]["content"])
    assert request == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it good? <<a good {caption} {0}>>"}],
        "temperature": 0,
        "max_tokens": 3,
    }
    assert "3 of 3 captions" in said[-1]
    assert "21 + 6 tokens" in said[-1]


def test_no_captions_ask_nothing():
    with endpoint(honest) as served:
        assert list(LlmVerdicts(rule(served.base_url)).measure(asked_about([]), print)) == []
    assert not served.asked


def test_identity_is_model_and_prompt():
    here = LlmVerdicts(rule("http://here/v1"))
    assert here.identity == LlmVerdicts(rule("http://there/v1", concurrency=3, timeout_seconds=1)).identity
    others = [
        LlmVerdicts(rule("http://here/v1", **change)).identity
        for change in ({"model": "n"}, {"question": "{caption}?"}, {"max_tokens": 9})
    ]
    assert len({here.identity, *others}) == 4


@pytest.mark.parametrize("address", ["localhost:8000/v1", "", "file:///v1"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValidationError, match="http://localhost:8000/v1"):
        rule(address)


def test_cost():
    priced = rule("http://x", price_per_million_input_tokens=0.5, price_per_million_output_tokens=1.5)
    assert judge_cost(2_000_000, 1_000_000, priced) == 2.5
    assert judge_cost(5, 5, rule("http://x")) == 0.0


def test_no_more_requests_under_way_than_allowed():
    together = threading.Barrier(5)

    def answer_five(caption: str, times: int) -> Reply:
        together.wait(timeout=30)
        return says("yes")

    with endpoint(answer_five) as served:
        assert judged(served, GOOD, concurrency=5)["value"].to_list() == [1.0] * 40
    assert served.most_at_once == 5


def test_retries_too_keep_to_the_rate():
    def busy_once(caption: str, times: int) -> Reply:
        return refuses(429, Retry_After_Ms="1") if times == 1 else says("yes")

    with endpoint(busy_once) as served:
        assert judged(served, GOOD[:6], requests_per_minute=1200, max_retries=1)["value"].to_list() == [1.0] * 6
    assert len(served.times) == 12
    # 50 ms apart; the first may arrive late.
    assert served.times[-1] - served.times[1] > 0.9 * 10 * 0.05


@pytest.mark.parametrize(
    "fault",
    [
        refuses(429),
        refuses(500),
        refuses(503),
        Reply(502, "<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        Reply(200, "", {"Content-Length": "100", "Connection": "close"}),
        says("yes", after_seconds=30),
    ],
    ids=["429", "500", "503", "gateway", "broken connection", "hanging"],
)
def test_passing_faults_are_asked_again(fault):
    with endpoint(lambda caption, times: fault if times == 1 else honest(caption, times)) as served:
        table = judged(served, ["good", "bad"], max_retries=2, timeout_seconds=1.0)
    assert table["value"].to_list() == [1.0, 0.0]
    assert served.asked == {"good": 2, "bad": 2}


def test_retry_after_is_honoured():
    with endpoint(lambda _, times: refuses(429, Retry_After="1") if times == 1 else says("yes")) as served:
        judged(served, ["good"], max_retries=1)
    # The client's own first pause is at most half a second.
    assert served.times[1] - served.times[0] >= 1.0


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (refuses(400, "content filter"), "HTTP 400: .*content filter"),
        (refuses(403, "your input was flagged"), "HTTP 403: .*flagged"),
        (refuses(500, "cannot"), "HTTP 500"),
        (says("Perhaps it is"), "^neither yes nor no: Perhaps it is$"),
        (says("<think>Let me", finish_reason="length"), "cut off at max_tokens.: <think>Let me"),
        (says(None, finish_reason="content_filter"), "neither yes nor no: no text"),
        (says("word " * 1000), "^.{150,250}…$"),
        (Reply(200, "<html>Login</html>", {"Content-Type": "text/html"}), "not a chat completion: <html>Login"),
        (Reply(200, "{"), "not a chat completion"),
        (Reply(200, {"error": {"message": "overloaded"}}), "not a chat completion: .*overloaded"),
        (Reply(200, [1, 2]), "not a chat completion"),
        (says("yes", choices=[]), "not a chat completion"),
        (says("yes", choices=[{"index": 0, "message": None}]), "no text"),
    ],
)
def test_a_caption_without_a_verdict_says_why(fault, problem):
    def answer(caption: str, times: int) -> Reply:
        return fault if caption == "odd" else honest(caption, times)

    said: list[str] = []
    with endpoint(answer) as served:
        table = judged(served, ["good", "odd", "bad"], said, concurrency=1)
    assert table["value"].to_list() == [1.0, None, 0.0]
    assert table.filter(pl.col("problem").str.contains(problem))["text"].to_list() == ["odd"], table["problem"][1]
    assert "1 without a verdict" in said[-1]


def test_answers_without_token_counts():
    with endpoint(says("yes", usage=None)) as served:
        table = judged(served, ["good"])
    assert table.select("value", "prompt_tokens", "completion_tokens").row(0) == (1.0, None, None)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("key", "hint"), [("wrong", "refuses the key"), ("", "asks for a key")])
def test_a_refused_key_stops_at_once(monkeypatch, status, key, hint):
    monkeypatch.setenv("MY_KEY", key)
    with endpoint(refuses(status)) as served, pytest.raises(EndpointError, match=f"{hint}.*MY_KEY"):
        judged(served, GOOD, api_key_variable="MY_KEY", concurrency=2, max_retries=5)
    assert len(served.times) <= 2


def test_an_unknown_model_stops_at_once():
    with endpoint(refuses(404, "no such model")) as served, pytest.raises(EndpointError) as stopped:
        judged(served, GOOD, model="llama-9", concurrency=2)
    assert "'llama-9'" in str(stopped.value)
    assert served.base_url in str(stopped.value)
    assert "no such model" in str(stopped.value)


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match=f"{url} gave no response .* asked 2 times: Connection error"):
            list(LlmVerdicts(rule(url, max_retries=1)).measure(asked_about(GOOD), print))
    assert not judge_threads()


def test_the_endpoint_hangs():
    with endpoint(says("yes", after_seconds=30)) as served:
        with pytest.raises(EndpointError, match=r"gave no response .* timed out"):
            judged(served, GOOD, timeout_seconds=0.1)
        assert not judge_threads()


@pytest.mark.parametrize("fault", [refuses(400, "bad parameter"), says("Perhaps")], ids=["refused", "chatty"])
def test_many_failures_in_a_row_stop_and_nothing_answered_is_lost(fault):
    texts = GOOD[:30] + [f"odd {number}" for number in range(200)]
    with endpoint(lambda caption, _: honest(caption, 1) if "good" in caption else fault) as served:
        kept = []
        with pytest.raises(EndpointError, match=f"{FAILURES_IN_A_ROW} questions in a row.*(bad parameter|Perhaps)"):
            kept.extend(LlmVerdicts(rule(served.base_url, concurrency=1)).measure(asked_about(texts), print))
    assert pl.concat(kept)["value"].drop_nulls().len() == 30
    assert len(served.times) == 30 + FAILURES_IN_A_ROW


def test_failures_here_and_there_do_not_stop():
    def every_second(caption: str, times: int) -> Reply:
        return says("yes") if int(caption.split()[-1]) % 2 else refuses(400)

    with endpoint(every_second) as served:
        table = judged(served, [f"number {number}" for number in range(100)], concurrency=1)
    assert table["value"].null_count() == 50


def test_questions_wait_for_their_answers_to_be_stored():
    with endpoint(honest) as served:
        frames = LlmVerdicts(rule(served.base_url, concurrency=4)).measure(asked_about(GOOD), print)
        first = next(frames).height
        served.wait_for_requests(4)
        time.sleep(0.2)
        assert len(served.times) == 4
        next(frames)
        served.wait_for_requests(4 + first)
        time.sleep(0.2)
        assert len(served.times) == 4 + first
        frames.close()
    assert not judge_threads()


def test_closing_in_the_middle_leaves_nothing_behind():
    with endpoint(lambda caption, _: says("yes", after_seconds=0 if caption == GOOD[0] else 30)) as served:
        frames = LlmVerdicts(rule(served.base_url)).measure(asked_about(GOOD), print)
        assert next(frames)["value"].to_list() == [1.0]
        frames.close()
        assert not judge_threads()


def test_the_callers_own_error_ends_the_asking():
    with endpoint(honest) as served:
        with pytest.raises(OSError, match="disk full"):
            for _ in LlmVerdicts(rule(served.base_url)).measure(asked_about(GOOD), print):
                raise OSError("disk full")
        assert not judge_threads()


def test_an_interrupt_ends_the_asking():
    def interrupt(caption: str, times: int) -> Reply:
        os.kill(os.getpid(), signal.SIGINT)
        return says("yes", after_seconds=30)

    with endpoint(interrupt) as served:
        with pytest.raises(KeyboardInterrupt):
            list(LlmVerdicts(rule(served.base_url, concurrency=1)).measure(asked_about(GOOD), print))
        assert not judge_threads()


ASKING_PROCESS = """
import json, sys
import polars as pl
from synthvlm_dagster.captions.measures.llm_judge import LlmVerdicts
from synthvlm_dagster.recipe import LlmJudge

rule, texts, stored = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
captions = pl.DataFrame({"key": texts, "text": texts, "image_uri": [None] * len(texts)})
with open(stored, "a+") as file:
    file.seek(0)
    known = [line.rstrip("\\n") for line in file if line.endswith("\\n")]
    judge = LlmVerdicts(LlmJudge.model_validate(rule))
    for frame in judge.measure(captions.filter(~pl.col("key").is_in(known)), print):
        file.write("".join(f"{key}\\n" for key in frame["key"]))
        file.flush()
"""


def test_a_killed_process_asks_again_only_what_was_under_way(tmp_path):
    texts = [f"good dog {number}" for number in range(300)]
    stored = tmp_path / "stored.txt"
    stored.touch()
    concurrency = 6
    with endpoint(says("yes", after_seconds=0.01)) as served:
        settings = json.dumps(rule(served.base_url, concurrency=concurrency).model_dump())
        command = [sys.executable, "-c", ASKING_PROCESS, settings, json.dumps(texts), str(stored)]
        for kills, enough in enumerate((40, 110, 200), 1):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while len(stored.read_text().split("\n")) < enough:
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
            process.wait()
            known = set(stored.read_text().split("\n")[:-1])
            assert len(known) < len(texts)
            assert served.asked.total() - len(known) <= kills * concurrency
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert sorted(stored.read_text().split("\n")[:-1]) == sorted(texts)
    assert served.asked.total() - len(texts) <= kills * concurrency


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EndpointError, match=r"pip install 'synthvlm_dagster\[judge\]'"):
        next(LlmVerdicts(rule("http://localhost:1/v1")).measure(asked_about(GOOD), print))
