// The Responses API through the official Node package, whose accumulator is the strictest there is.
// Each test names the scenario of the conformance list that it covers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { MODEL, OpenAI, Server } from './server.mjs';

const server = new Server();
let client, faults, short;

before(async () => {
    await server.start();
    client = server.client();
    faults = await server.hasFaults();
    short = await server.shortPrompt();
});
after(() => server.stop());

const body = (input = 'Hello!', extra = {}) => ({ model: MODEL, input, temperature: 0, ...extra });

test('s09 string input', async () => {
    const made = await client.responses.create(body('Say this is a test'));
    assert.match(made.id, /^resp_/);
    assert.equal(made.output[0].type, 'message');
    assert.equal(made.output_text, made.output[0].content[0].text);
    assert.equal(made.usage.total_tokens, made.usage.input_tokens + made.usage.output_tokens);
    assert.match(made._request_id, /^req_/);
});

test('s10 event order and the helper', async () => {
    const whole = await client.responses.create(body(short));
    const types = [];
    let text = '', number = 0;
    for await (const event of await client.responses.create(body(short, { stream: true }))) {
        assert.equal(event.sequence_number, number++);
        if (event.type === 'response.output_text.delta') text += event.delta;
        if (types.at(-1) !== event.type) types.push(event.type);
    }
    assert.deepEqual(types, ['response.created', 'response.in_progress', 'response.output_item.added',
        'response.content_part.added', 'response.output_text.delta', 'response.output_text.done',
        'response.content_part.done', 'response.output_item.done', 'response.completed']);
    assert.equal(text, whole.output_text);
    const final = await client.responses.stream(body(short)).finalResponse();
    assert.equal(final.output_text, whole.output_text);
    assert.equal(final.status, 'completed');
});

test('s11 the completed event equals what is stored', async () => {
    const final = await client.responses.stream(body('Hello!')).finalResponse();
    const stored = await client.responses.retrieve(final.id);
    assert.deepEqual(stored.output, JSON.parse(JSON.stringify(final.output)).map((item) => ({ ...item,
        content: item.content.map(({ parsed, ...part }) => { assert.ok(parsed == null); return part; }) })));
    assert.deepEqual(stored.usage, final.usage);
    assert.equal(stored.status, final.status);
});

test('s26 a failure in the stream ends it', async (t) => {
    if (!faults) return t.skip('built without fault points');
    const options = { headers: { 'X-Cairn-Fault': 'midstream=2' } };
    let last;
    try {
        for await (const event of await client.responses.create(body('Count to 20', { stream: true }), options))
            last = event;
        assert.equal(last.type, 'response.failed');
        assert.ok(last.response.error.message);
    } catch (error) {
        assert.ok(error instanceof OpenAI.APIError, String(error));
    }
});

test('s33 null means absent, empty lists of frameworks are fine', async () => {
    const made = await client.responses.create(body('Hello!', { tools: null, metadata: null, stream: null,
        previous_response_id: null, instructions: null, max_output_tokens: null, truncation: null }));
    assert.ok(made.output.length);
    assert.ok((await client.responses.create(body('Hello!', { include: [], tools: [], text: {} }))).output.length);
});

test('s34 token limit', async () => {
    for (const prompt of ['Write a one-sentence bedtime story about a unicorn.', 'Count to 20',
        'List the months of the year.', 'Write a limerick about the sea.']) {
        const made = await client.responses.create(body(prompt, { max_output_tokens: 16 }));
        if (made.status !== 'incomplete') continue;
        assert.deepEqual(made.incomplete_details, { reason: 'max_output_tokens' });
        assert.equal(made.usage.output_tokens, 16);
        const final = await client.responses.stream(body(prompt, { max_output_tokens: 16 })).finalResponse();
        assert.equal(final.status, 'incomplete');
        assert.equal(final.output_text, made.output_text);
        return;
    }
    assert.fail('no prompt gave more than 16 tokens');
});

test('s43 not stored is not found', async () => {
    const made = await client.responses.create(body('Hello!', { store: false }));
    await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
    await assert.rejects(client.responses.create(body('x', { previous_response_id: made.id })), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError);
        assert.equal(error.code, 'previous_response_not_found');
        assert.equal(error.param, 'previous_response_id');
        return true;
    });
});

test('s51 delete and input items', async () => {
    const made = await client.responses.create(body([{ role: 'user', content: 'My name is Ana.' },
        { role: 'assistant', content: 'Hello Ana!' }, { role: 'user', content: 'What is my name?' }]));
    const items = [];
    for await (const item of client.responses.inputItems.list(made.id, { order: 'asc', limit: 2 }))
        items.push(item.content[0].text);
    assert.deepEqual(items, ['My name is Ana.', 'Hello Ana!', 'What is my name?']);
    await client.responses.delete(made.id);
    await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
});

test('s53 conversation and previous response exclude each other', async () => {
    const made = await client.responses.create(body());
    await assert.rejects(client.responses.create(body('x', { previous_response_id: made.id,
        conversation: 'conv_1' })), OpenAI.BadRequestError);
});

test('s54 chains', async () => {
    const first = await client.responses.create(body('My name is Bob.', { instructions: 'Be brief.' }));
    const second = await client.responses.create(body('What is my name?', { previous_response_id: first.id }));
    assert.equal(second.instructions, null);
    const spelled = await client.responses.create(body([{ role: 'user', content: 'My name is Bob.' },
        ...first.output, { role: 'user', content: 'What is my name?' }]));
    assert.equal(second.output_text, spelled.output_text);
    assert.equal(second.usage.input_tokens, spelled.usage.input_tokens);
});

test('s55 item references', async () => {
    const first = await client.responses.create(body('My name is Bob.'));
    const made = await client.responses.create(body([{ role: 'user', content: 'My name is Bob.' },
        { type: 'item_reference', id: first.output[0].id }, { role: 'user', content: 'What is my name?' }]));
    assert.ok(made.output_text.length);
});

test('s66 input tokens', async () => {
    const counted = await client.responses.inputTokens.count({ model: MODEL, input: 'Hello!' });
    assert.equal(counted.object, 'response.input_tokens');
    assert.equal(counted.input_tokens, (await client.responses.create(body('Hello!'))).usage.input_tokens);
});

test('s69 logprobs on request', async () => {
    const made = await client.responses.create(body(short,
        { include: ['message.output_text.logprobs'], top_logprobs: 2 }));
    assert.ok(made.output[0].content[0].logprobs.length);
    const bare = await client.responses.create(body(short));
    assert.deepEqual(bare.output[0].content[0].logprobs, []);
});
