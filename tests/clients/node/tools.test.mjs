// Tools and structured output through the official Node package, with its accumulators and parse helpers.
// Scenarios 6, 7, 12-14, 20, 21, 29-31, 63 and 65 of the conformance list.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { MODEL, OpenAI, Server, endless, load } from './server.mjs';

const { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } =
    await load(`${process.env.OPENAI_PACKAGE ?? 'openai'}/helpers/zod`);
const { z } = await load('zod');

const server = new Server();
let client;
before(async () => {
    await server.start();
    client = server.client();
});
after(() => server.stop());

const ASK = 'What is the weather like in Paris?';
const Weather = z.object({ city: z.enum(['Paris', 'Rome', 'Oslo']), unit: z.enum(['c', 'f']) });
const Answer = z.object({ verdict: z.enum(['yes', 'no']), score: z.literal([1, 2, 3]) });
const PARAMETERS = {
    type: 'object', additionalProperties: false, required: ['city', 'unit'],
    properties: { city: { type: 'string', enum: ['Paris', 'Rome', 'Oslo'] }, unit: { type: 'string', enum: ['c', 'f'] } },
};
const chatTool = { type: 'function', function: { name: 'get_weather', strict: true, parameters: PARAMETERS } };
const flatTool = { type: 'function', name: 'get_weather', strict: true, parameters: PARAMETERS };

const chat = (extra = {}) => ({
    model: MODEL, messages: [{ role: 'user', content: ASK }], temperature: 0, seed: 7, tools: [chatTool],
    tool_choice: 'required', parallel_tool_calls: false, ...extra,
});
const response = (extra = {}) => ({
    model: MODEL, input: ASK, temperature: 0, tools: [flatTool], tool_choice: 'required', parallel_tool_calls: false,
    ...extra,
});

test('s06 a call and its result', async () => {
    const made = await client.chat.completions.create(chat());
    const [call] = made.choices[0].message.tool_calls;
    assert.equal(made.choices[0].finish_reason, 'tool_calls');
    assert.equal(made.choices[0].message.content, null);
    assert.match(call.id, /^call_/);
    Weather.parse(JSON.parse(call.function.arguments));
    const again = await client.chat.completions.create(chat({
        tool_choice: 'none', max_completion_tokens: 30,
        messages: [{ role: 'user', content: ASK }, made.choices[0].message,
            { role: 'tool', tool_call_id: call.id, content: 'sunny' }],
    }));
    assert.equal(typeof again.choices[0].message.content, 'string');
});

test('s07 the stream helper gathers a call', async () => {
    const whole = await client.chat.completions.create(chat());
    const stream = client.chat.completions.stream(chat());
    let deltas = '';
    stream.on('tool_calls.function.arguments.delta', ({ arguments_delta }) => { deltas += arguments_delta; });
    const final = await stream.finalChatCompletion();
    const [call] = final.choices[0].message.tool_calls, [expected] = whole.choices[0].message.tool_calls;
    assert.equal(call.function.arguments, expected.function.arguments);
    assert.equal(deltas, call.function.arguments);
    assert.equal(final.choices[0].finish_reason, 'tool_calls');
});

test('s07, s31 many calls have distinct places and ids', async () => {
    const calls = [];
    for await (const chunk of await client.chat.completions.create(
        chat({ parallel_tool_calls: true, stream: true, max_completion_tokens: 200, logit_bias: endless() })))
        for (const entry of chunk.choices[0].delta.tool_calls ?? []) {
            if (entry.id) calls[entry.index] = { id: entry.id, text: '' };
            else calls[entry.index].text += entry.function.arguments;
        }
    assert.ok(calls.length >= 2);
    assert.equal(new Set(calls.map((call) => call.id)).size, calls.length);
    for (const call of calls.slice(0, -1)) Weather.parse(JSON.parse(call.text));
});

test('s06, s20 runTools drives a function with arguments that are parsed', async () => {
    const seen = [];
    const runner = client.chat.completions.runTools({
        model: MODEL, messages: [{ role: 'user', content: ASK }], temperature: 0, max_completion_tokens: 200,
        tool_choice: { type: 'function', function: { name: 'get_weather' } }, parallel_tool_calls: false,
        tools: [zodFunction({
            name: 'get_weather', parameters: Weather,
            function: (args) => { seen.push(args); return 'sunny'; },
        })],
    }, { maxChatCompletions: 2 });
    await runner.done().catch((error) => assert.match(String(error), /max|limit/i));
    assert.ok(seen.length >= 1);
    Weather.parse(seen[0]);
});

test('s20 parse with zod', async () => {
    const body = { model: MODEL, messages: [{ role: 'user', content: 'Is it true?' }], temperature: 0,
        response_format: zodResponseFormat(Answer, 'answer') };
    const made = await client.chat.completions.parse(body);
    Answer.parse(made.choices[0].message.parsed);
    const streamed = await client.chat.completions.stream(body).finalChatCompletion();
    assert.deepEqual(streamed.choices[0].message.parsed, made.choices[0].message.parsed);
    await assert.rejects(client.chat.completions.parse({ ...body, max_completion_tokens: 2 }),
        OpenAI.LengthFinishReasonError ?? Error);
});

test('s29 forms of tool_choice', async () => {
    const named = { type: 'function', function: { name: 'get_weather' } };
    for (const tool_choice of ['required', named,
        { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [named] } }]) {
        const made = await client.chat.completions.create(chat({ tool_choice }));
        assert.equal(made.choices[0].message.tool_calls[0].function.name, 'get_weather');
        assert.equal(made.choices[0].finish_reason, 'tool_calls');
    }
    const none = await client.chat.completions.create(chat({ tool_choice: 'none', max_completion_tokens: 30 }));
    assert.equal(none.choices[0].message.tool_calls, undefined);
    await assert.rejects(client.chat.completions.create(
        chat({ tool_choice: { type: 'function', function: { name: 'other' } } })),
    (error) => error instanceof OpenAI.BadRequestError && error.param === 'tool_choice');
});

test('s12, s13 a call of a response and its result', async () => {
    const made = await client.responses.create(response());
    const [call] = made.output;
    assert.equal(call.type, 'function_call');
    Weather.parse(JSON.parse(call.arguments));
    const output = { type: 'function_call_output', call_id: call.call_id, output: 'sunny' };
    const next = await client.responses.create({ model: MODEL, previous_response_id: made.id, input: [output] });
    assert.equal(next.output.at(-1).type, 'message');
    const stateless = await client.responses.create(
        { model: MODEL, store: false, input: [{ role: 'user', content: ASK }, ...made.output, output] });
    assert.equal(stateless.output.at(-1).type, 'message');
});

test('s12 the stream helper gathers a call', async () => {
    const whole = await client.responses.create(response());
    const stream = client.responses.stream(response());
    let deltas = '';
    stream.on('response.function_call_arguments.delta', ({ delta }) => { deltas += delta; });
    const final = await stream.finalResponse();
    assert.equal(final.output[0].arguments, whole.output[0].arguments);
    assert.equal(deltas, final.output[0].arguments);
    assert.equal(final.status, 'completed');
});

test('s21 parse with zod', async () => {
    const body = { model: MODEL, input: 'Is it true?', temperature: 0, text: { format: zodTextFormat(Answer, 'answer') } };
    const made = await client.responses.parse(body);
    Answer.parse(made.output_parsed);
    const final = await client.responses.stream(body).finalResponse();
    assert.deepEqual(final.output_parsed, made.output_parsed);
    const called = await client.responses.parse(response(
        { tools: [zodResponsesFunction({ name: 'get_weather', parameters: Weather })] }));
    Weather.parse(called.output[0].parsed_arguments);
});

test('s30 forms of tool_choice', async () => {
    const named = { type: 'function', name: 'get_weather' };
    for (const tool_choice of ['required', named, { type: 'allowed_tools', mode: 'required', tools: [named] }]) {
        const made = await client.responses.create(response({ tool_choice }));
        assert.equal(made.output[0].name, 'get_weather');
        assert.deepEqual(made.tool_choice, tool_choice);
    }
    const none = await client.responses.create(response({ tool_choice: 'none', max_output_tokens: 30 }));
    assert.deepEqual(none.output.map((item) => item.type), ['message']);
});

test('s63 custom tools', async () => {
    const grammar = { syntax: 'regex', definition: '[a-c]{2,4}=[0-9]{1,3}' };
    const made = await client.responses.create(response({
        tools: [{ type: 'custom', name: 'run', format: { type: 'grammar', ...grammar } }] }));
    assert.match(made.output[0].input, /^[a-c]{2,4}=[0-9]{1,3}$/);
    const final = await client.responses.stream(response({
        tools: [{ type: 'custom', name: 'run', format: { type: 'grammar', ...grammar } }] })).finalResponse();
    assert.equal(final.output[0].input, made.output[0].input);
    const completion = await client.chat.completions.create(chat({
        tools: [{ type: 'custom', custom: { name: 'run', format: { type: 'grammar', grammar } } }] }));
    assert.match(completion.choices[0].message.tool_calls[0].custom.input, /^[a-c]{2,4}=[0-9]{1,3}$/);
});

test('s65 refusals can be sent back', async () => {
    const made = await client.chat.completions.create({ model: MODEL, max_completion_tokens: 10, messages: [
        { role: 'user', content: 'Do it.' }, { role: 'assistant', content: null, refusal: 'I cannot.' },
        { role: 'user', content: 'Why?' }] });
    assert.equal(made.choices[0].message.refusal, null);
    const next = await client.responses.create({ model: MODEL, max_output_tokens: 16, input: [
        { role: 'user', content: 'Do it.' },
        { type: 'message', role: 'assistant', content: [{ type: 'refusal', refusal: 'I cannot.' }] },
        { role: 'user', content: 'Why?' }] });
    assert.equal(next.output.at(-1).content[0].type, 'output_text');
});
