# SPDX-License-Identifier: Apache-2.0
"""The openai package against a running `ttt serve --chat-template plain`: completions and chats, whole and
streamed, sync and async, errors.

usage: openai_client.py http://127.0.0.1:8080/v1      (needs `pip install openai`; not part of the test suite)
"""
import asyncio
import sys

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model
request = {"model": model, "prompt": "It was late in the", "max_tokens": 24, "temperature": 0}

whole = client.completions.create(**request)
assert whole.choices[0].finish_reason in ("length", "stop")
assert whole.usage.completion_tokens <= 24

text = "".join(chunk.choices[0].text for chunk in client.completions.create(**request, stream=True))
assert text == whole.choices[0].text, (text, whole.choices[0].text)

chunks = list(client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
assert chunks[-1].usage == whole.usage, (chunks[-1].usage, whole.usage)

scored = client.completions.create(**request, logprobs=3, echo=True)
log_probs = scored.choices[0].logprobs
assert len(log_probs.tokens) == len(log_probs.token_logprobs) == len(log_probs.text_offset)
assert log_probs.token_logprobs[0] is None

many = client.completions.create(model=model, prompt=["One", "Two"], n=2, max_tokens=4)
assert [choice.index for choice in many.choices] == [0, 1, 2, 3]

chat = {"model": model, "messages": [{"role": "system", "content": "A story."},
                                     {"role": "user", "content": [{"type": "text", "text": "It was late in the"}]}],
        "max_completion_tokens": 24, "temperature": 0}
spoken = client.chat.completions.create(**chat)
assert spoken.object == "chat.completion" and spoken.id.startswith("chatcmpl-")
assert spoken.choices[0].message.role == "assistant" and spoken.choices[0].message.refusal is None
assert spoken.choices[0].finish_reason in ("length", "stop")
chunks = list(client.chat.completions.create(**chat, stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant"
assert chunks[-2].choices[0].delta.content is None and chunks[-2].choices[0].finish_reason
assert chunks[-1].usage == spoken.usage
said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert said == spoken.choices[0].message.content, (said, spoken.choices[0].message.content)
scored = client.chat.completions.create(**chat, logprobs=True, top_logprobs=3)
for token in scored.choices[0].logprobs.content:
    assert len(token.top_logprobs) == 3 and token.top_logprobs[0].logprob == token.logprob
with client.chat.completions.stream(**chat) as stream:
    said = "".join(event.delta for event in stream if event.type == "content.delta")
    assert said == stream.current_completion_snapshot.choices[0].message.content == spoken.choices[0].message.content
try:
    client.chat.completions.create(**chat, tools=[{"type": "function", "function": {"name": "f"}}])
except openai.BadRequestError as refused:
    assert refused.body["param"] == "tools", refused.body
else:
    raise AssertionError("tools were accepted")

for wrong, error in (({"max_tokens": -1}, openai.BadRequestError), ({"model": "gpt-4"}, openai.NotFoundError)):
    try:
        client.completions.create(**{**request, **wrong})
    except error as refused:
        assert refused.body["param"] == next(iter(wrong)), refused.body
    else:
        raise AssertionError(f"{wrong} was accepted")


async def several():
    others = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    answers = await asyncio.gather(*(others.completions.create(**request) for _ in range(16)))
    assert all(answer.choices[0].text == whole.choices[0].text for answer in answers)
    stream = await others.completions.create(**request, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text
    stream = await others.chat.completions.create(**chat, stream=True)
    parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(parts) == spoken.choices[0].message.content
    endless = await others.completions.create(**{**request, "max_tokens": 1_000_000}, stream=True)
    await anext(endless)
    await endless.close()


asyncio.run(several())
print(f"openai {openai.__version__}: all as it should be")
