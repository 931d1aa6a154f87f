"""The first examples of the SDKs and agent frameworks, on the built-in model with `tool_choice` left at auto: nothing but
what it has learnt makes it call, or not."""
import json

import pytest
from pydantic import BaseModel

from cairn_server import MODEL, TEST_MODEL

pytestmark = pytest.mark.skipif(bool(TEST_MODEL), reason="about the built-in model")

WEATHER = {
    "name": "get_weather",
    "description": "Get current temperature for a given location.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "City and country e.g. Bogotá, Colombia"}},
        "required": ["location"],
        "additionalProperties": False,
    },
    "strict": True,
}
ADD = {
    "name": "add",
    "description": "Add two numbers",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}


def chat(client, messages, *functions, **extra):
    tools = [{"type": "function", "function": f} for f in functions]
    return client.chat.completions.create(model=MODEL, messages=messages, temperature=0, tools=tools, **extra).choices[0]


def user(text):
    return [{"role": "user", "content": text}]


def calls_of(choice):
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]


@pytest.mark.parametrize("city", ["Paris", "Tokyo", "Madrid"])
def test_a_call_and_an_answer_from_its_result(client, city):
    messages = user(f"What is the weather like in {city} today?")
    choice = chat(client, messages, WEATHER)
    assert choice.finish_reason == "tool_calls"
    assert [name for name, _ in calls_of(choice)] == ["get_weather"]
    assert city in calls_of(choice)[0][1]["location"]
    messages += [choice.message, {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id,
                                  "content": json.dumps({"temperature": 21, "unit": "C"})}]
    choice = chat(client, messages, WEATHER)
    assert choice.finish_reason == "stop" and "21" in choice.message.content


def test_two_things_asked_are_two_calls(client):
    choice = chat(client, user("What is the weather in Rome and in Berlin?"), WEATHER, ADD)
    assert [(name, arguments["location"].split(",")[0]) for name, arguments in calls_of(choice)] == [
        ("get_weather", "Rome"), ("get_weather", "Berlin")]
    choice = chat(client, user("Add 3 and 4, and tell me the weather in Oslo."), ADD, WEATHER)
    assert sorted(name for name, _ in calls_of(choice)) == ["add", "get_weather"]
    assert ("add", {"a": 3, "b": 4}) in calls_of(choice)


@pytest.mark.parametrize("text", ["Hello!", "What is the capital of France?"])
def test_no_call_when_no_function_fits(client, text):
    choice = chat(client, user(text), WEATHER)
    assert choice.finish_reason == "stop" and choice.message.content and not choice.message.tool_calls


def test_one_call_when_only_one_may_be_made(client):
    choice = chat(client, user("What is the weather in Rome and in Berlin?"), WEATHER, parallel_tool_calls=False)
    assert len(calls_of(choice)) == 1


class Event(BaseModel):
    name: str
    date: str
    participants: list[str]


def test_a_schema_is_filled_from_a_text(client):
    done = client.chat.completions.parse(model=MODEL, temperature=0, response_format=Event, messages=[
        {"role": "system", "content": "Extract the event information."},
        {"role": "user", "content": "Alice and Bob are going to a science fair on Friday."}])
    event = done.choices[0].message.parsed
    assert event.participants == ["Alice", "Bob"] and event.date == "Friday" and "science fair" in event.name


def test_responses_call_and_answer(client):
    tools = [{"type": "function", **WEATHER}]
    first = client.responses.create(model=MODEL, input="What is the weather like in Paris today?", tools=tools,
                                    temperature=0)
    call = first.output[0]
    assert call.type == "function_call" and "Paris" in json.loads(call.arguments)["location"]
    then = client.responses.create(model=MODEL, previous_response_id=first.id, tools=tools, temperature=0, input=[
        {"type": "function_call_output", "call_id": call.call_id, "output": "The temperature in Paris is 18 degrees."}])
    assert then.status == "completed" and "18" in then.output_text
