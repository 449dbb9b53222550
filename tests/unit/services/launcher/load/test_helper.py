"""A helper process: answers what it is asked, says why it cannot, and is missed when it has ended."""

import sys
from pathlib import Path

import pytest

from services.launcher.errors import LauncherError
from services.launcher.load.helper import Helper

ECHO = """
import asyncio, sys
from services.launcher.errors import LauncherError
from services.launcher.load.answering import answer_questions
async def answer(asked):
    if asked.get("die"):
        sys.exit(0)
    if asked.get("babble"):
        print("what?", flush=True)
    if asked.get("sleep"):
        await asyncio.sleep(60)
    if asked.get("fail"):
        raise LauncherError("no luck", "try again")
    return {"heard": asked}
asyncio.run(answer_questions(answer))
"""
ROOT = Path(__file__).parents[5]


@pytest.fixture
async def helper(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = await Helper.start("echo", (sys.executable, "-c", ECHO))
    yield made
    await made.end()


async def test_it_answers_one_question_after_the_other(helper):
    assert [(await helper.ask({"number": number}))["heard"] for number in range(3)] == [{"number": n} for n in range(3)]


async def test_what_it_cannot_do_is_an_error_with_its_words(helper):
    with pytest.raises(LauncherError, match="the echo: no luck") as caught:
        await helper.ask({"fail": True})
    assert caught.value.hint == "try again"
    assert (await helper.ask({}))["heard"] == {}


async def test_an_answer_that_is_no_json_is_shown(helper):
    with pytest.raises(LauncherError, match="what"):
        await helper.ask({"babble": True})


async def test_one_that_has_ended_is_said_to_have(helper):
    with pytest.raises(LauncherError, match="the echo has ended"):
        await helper.ask({"die": True})


async def test_one_that_does_not_answer_is_not_waited_for_for_ever(helper):
    await helper.ask({})
    with pytest.raises(LauncherError, match=r"does not answer within 0\.1 s"):
        await helper.ask({"sleep": True}, patience_s=0.1)
