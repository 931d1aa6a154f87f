// Chat Completions, models, embeddings and legacy completions through the official Node package.
// Each test names the scenario of the conformance list that it covers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MODEL, OpenAI, Server, endless } from './server.mjs';

const STORY = 'Write a one-sentence bedtime story about a unicorn.';
const server = new Server();
let client, faults, short;

before(async () => {
    await server.start();
    client = server.client();
    faults = await server.hasFaults();
    short = await server.shortPrompt();
});
after(() => server.stop());

const body = (text = 'Hello!', extra = {}) =>
    ({ model: MODEL, messages: [{ role: 'user', content: text }], temperature: 0, seed: 7, ...extra });
const long = (tokens, extra = {}) =>
    body(STORY, { max_completion_tokens: tokens, logit_bias: endless(), ...extra });

test('s01 minimal chat', async () => {
    const made = await client.chat.completions.create(
        { model: MODEL, messages: [{ role: 'user', content: 'Hello!' }] });
    assert.match(made.id, /^chatcmpl-/);
    assert.equal(made.object, 'chat.completion');
    assert.equal(made.choices[0].message.role, 'assistant');
    assert.equal(made.choices[0].message.refusal, null);
    assert.deepEqual(made.choices[0].message.annotations, []);
    assert.equal(made.usage.total_tokens, made.usage.prompt_tokens + made.usage.completion_tokens);
    assert.match(made._request_id, /^req_[0-9a-f]{32}$/);
});

test('s02, s03 stream equals the whole, through the helper too', async () => {
    const whole = await client.chat.completions.create(body(short));
    let text = '', roles = 0;
    for await (const chunk of await client.chat.completions.create(body(short, { stream: true }))) {
        text += chunk.choices[0].delta.content ?? '';
        if ('role' in chunk.choices[0].delta) roles++;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(roles, 1);
    const helper = client.chat.completions.stream(body(short));
    let deltas = '';
    helper.on('content', (delta) => { deltas += delta; });
    const final = await helper.finalChatCompletion();
    assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
    assert.equal(deltas, whole.choices[0].message.content);
});

test('s04 wrong key: AuthenticationError, no retry', async () => {
    const started = Date.now();
    await assert.rejects(server.client({ apiKey: 'sk-wrong-key-0123456789' }).models.list(), (error) => {
        assert.ok(error instanceof OpenAI.AuthenticationError);
        assert.equal(error.code, 'invalid_api_key');
        assert.match(error.requestID, /^req_/);
        return true;
    });
    assert.ok(Date.now() - started < 30_000);
});

test('s05 unknown model: NotFoundError, model_not_found', async () => {
    for (const call of [() => client.chat.completions.create({ ...body(), model: 'no-such-model' }),
        () => client.responses.create({ model: 'no-such-model', input: 'x' }),
        () => client.models.retrieve('no-such-model')])
        await assert.rejects(call, (error) => {
            assert.ok(error instanceof OpenAI.NotFoundError, String(error));
            assert.equal(error.code, 'model_not_found');
            return true;
        });
});

test('s08 usage chunk', async () => {
    const chunks = [];
    for await (const chunk of await client.chat.completions.create(
        body('Hello!', { stream: true, stream_options: { include_usage: true } })))
        chunks.push(chunk);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
    const helper = client.chat.completions.stream(body('Hello!', { stream_options: { include_usage: true } }));
    const total = await helper.totalUsage();
    for (const key of ['prompt_tokens', 'completion_tokens', 'total_tokens'])
        assert.equal(total[key], chunks.at(-1).usage[key]);
});

test('s15 models', async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.ok(ids.includes(MODEL));
    assert.equal((await client.models.retrieve(MODEL)).object, 'model');
});

test('s16, s17 embeddings are numbers by default', async () => {
    const made = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a cat', 'a dog'] });
    assert.equal(made.data.length, 2);
    assert.deepEqual(made.data.map((row) => row.index), [0, 1]);
    const plain = await client.embeddings.create(
        { model: 'text-embedding-3-small', input: ['a cat', 'a dog'], encoding_format: 'float' });
    for (const [i, row] of made.data.entries()) {
        const values = Array.from(row.embedding);
        assert.ok(values.length > 8 && values.every(Number.isFinite));
        assert.equal(values.length, plain.data[i].embedding.length);
        values.forEach((v, j) => assert.ok(Math.abs(v - plain.data[i].embedding[j]) < 1e-5));
        assert.ok(Math.abs(Math.hypot(...values) - 1) < 1e-3);
    }
    await assert.rejects(client.embeddings.create({ model: 'text-embedding-3-small', input: '' }),
        OpenAI.BadRequestError);
});

for (const status of [408, 409, 429, 500, 502, 503])
    test(`s19 ${status} is retried twice`, async (t) => {
        if (!faults) return t.skip('built without fault points');
        const counts = [];
        const counting = server.client({
            fetch: (url, init) => {
                counts.push(new Headers(init.headers).get('x-stainless-retry-count'));
                return fetch(url, init);
            },
        });
        const made = await counting.chat.completions.create(body(), {
            headers: { 'X-Cairn-Fault': `status=${status};times=2`, 'X-Cairn-Fault-Key': `node-${status}` } });
        assert.ok(made.choices.length);
        assert.deepEqual(counts, ['0', '1', '2']);
    });

for (const status of [400, 401, 403, 404, 422])
    test(`s19 ${status} is not retried`, async (t) => {
        if (!faults) return t.skip('built without fault points');
        let calls = 0;
        const counting = server.client({ fetch: (url, init) => { calls++; return fetch(url, init); } });
        await assert.rejects(counting.chat.completions.create(body(), {
            headers: { 'X-Cairn-Fault': `status=${status};times=1`, 'X-Cairn-Fault-Key': `node-l${status}` } }),
        (error) => error.status === status);
        assert.equal(calls, 1);
    });

test('s22, s32 bad parameters are named', async () => {
    const cases = [[{ temperature: 9 }, 'temperature', 'decimal_above_max_value'],
        [{ nonsense: 1 }, 'nonsense', 'unknown_parameter'],
        [{ messages: [{ role: 'user', content: 5 }] }, 'messages[0].content', 'invalid_type'],
        [{ messages: [{ role: 'wizard', content: 'x' }] }, 'messages[0].role', 'invalid_value']];
    for (const [change, param, code] of cases)
        await assert.rejects(client.chat.completions.create({ ...body(), ...change }), (error) => {
            assert.ok(error instanceof OpenAI.BadRequestError);
            assert.equal(error.param, param);
            assert.equal(error.code, code);
            assert.equal(error.type, 'invalid_request_error');
            return true;
        });
    const made = await client.chat.completions.create({ ...body(), metadata: { a: 'b' }, user: 'u',
        service_tier: 'auto', safety_identifier: 's', prompt_cache_key: 'p', store: false });
    assert.equal(made.service_tier, 'default');
});

test('s24 part arrays and roles', async () => {
    const part = (text) => [{ type: 'text', text }];
    const made = await client.chat.completions.create({ model: MODEL, messages: [
        { role: 'system', content: part('Be brief.') }, { role: 'developer', content: 'Be kind.' },
        { role: 'user', content: part('Hello!'), name: 'ana' },
        { role: 'assistant', content: part('Hi.') }, { role: 'user', content: 'And now?' }] });
    assert.equal(made.choices[0].message.role, 'assistant');
});

test('s25 a failure in the stream raises', async (t) => {
    if (!faults) return t.skip('built without fault points');
    const options = { headers: { 'X-Cairn-Fault': 'midstream=2' } };
    await assert.rejects(async () => {
        for await (const chunk of await client.chat.completions.create(long(50, { stream: true }), options))
            assert.ok(chunk.choices);
    }, OpenAI.APIError);
    await assert.rejects(client.chat.completions.stream(long(50), options).finalChatCompletion(),
        OpenAI.APIError);
});

test('s27 breaking out of a stream frees the slot', async () => {
    const stream = await client.chat.completions.create(long(900, { stream: true, n: 4 }));
    for await (const chunk of stream) {
        assert.ok(chunk.choices);
        break;
    }
    let active = -1;
    for (let tries = 0; tries < 500 && active !== 0; tries++) {
        active = await server.metric('cairn_engine_active_sequences');
        await sleep(20);
    }
    assert.equal(active, 0);
    const abort = new AbortController();
    const pending = client.chat.completions.create(long(900, { n: 16 }), { signal: abort.signal });
    setTimeout(() => abort.abort(), 20);
    await assert.rejects(pending, OpenAI.APIUserAbortError);
});

test('s33 null means absent', async () => {
    const made = await client.chat.completions.create({ ...body(), temperature: null, tools: null, stop: null,
        stream: null, metadata: null, n: null, top_p: null, seed: null, logit_bias: null });
    assert.ok(made.choices.length);
});

test('s34, s35 limits and stop sequences', async () => {
    const cut = await client.chat.completions.create(long(5));
    assert.equal(cut.choices[0].finish_reason, 'length');
    assert.equal(cut.usage.completion_tokens, 5);
    const full = (await client.chat.completions.create(long(60))).choices[0].message.content;
    const stop = full.slice(6, 9);
    const stopped = await client.chat.completions.create(long(60, { stop: ['\u0001', stop] }));
    assert.equal(stopped.choices[0].message.content, full.slice(0, full.indexOf(stop)));
    assert.equal(stopped.choices[0].finish_reason, 'stop');
});

test('s36 request ids on results and raw responses', async () => {
    const { data, response } = await client.chat.completions.create(body()).withResponse();
    assert.equal(data._request_id, response.headers.get('x-request-id'));
    const stream = await client.chat.completions.create(body('Hello!', { stream: true })).withResponse();
    assert.match(stream.response.headers.get('x-request-id'), /^req_/);
    for await (const chunk of stream.data) assert.ok(chunk.id);
});

test('s39 base URLs with and without a trailing slash', async () => {
    for (const tail of ['/v1', '/v1/', ''])
        assert.ok((await server.client({ baseURL: server.url + tail }).models.list()).data.length);
});

test('s68 several choices', async () => {
    const helper = client.chat.completions.stream(body(short, { n: 3 }));
    const final = await helper.finalChatCompletion();
    assert.deepEqual(final.choices.map((choice) => choice.index), [0, 1, 2]);
    assert.ok(final.choices.every((choice) => ['stop', 'length'].includes(choice.finish_reason)));
});

test('s69 logprobs', async () => {
    const made = await client.chat.completions.create(body(short, { logprobs: true, top_logprobs: 2 }));
    const tokens = made.choices[0].logprobs.content;
    assert.ok(tokens.every((token) => token.top_logprobs.length === 2 && token.logprob <= 0));
    assert.equal(Buffer.from(tokens.flatMap((token) => token.bytes)).toString(),
        made.choices[0].message.content);
    const final = await client.chat.completions.stream(body(short, { logprobs: true }))
        .finalChatCompletion();
    assert.equal(final.choices[0].logprobs.content.length, tokens.length);
});

test('s89 stored completions', async () => {
    const tag = `node-${process.pid}-${Date.now()}`;
    const ids = [];
    for (let i = 0; i < 3; i++)
        ids.push((await client.chat.completions.create(body(`Say ${i}`, { store: true, metadata: { tag } }))).id);
    const listed = [];
    for await (const row of client.chat.completions.list({ metadata: { tag }, limit: 2 })) listed.push(row.id);
    assert.deepEqual(listed, ids);
    assert.deepEqual((await client.chat.completions.update(ids[0], { metadata: { tag: 'x' } })).metadata,
        { tag: 'x' });
    const messages = [];
    for await (const message of client.chat.completions.messages.list(ids[0])) messages.push(message.id);
    assert.deepEqual(messages, [`${ids[0]}-0`]);
    assert.equal((await client.chat.completions.delete(ids[0])).deleted, true);
    await assert.rejects(client.chat.completions.retrieve(ids[0]), OpenAI.NotFoundError);
});

test('s118 legacy completions', async () => {
    const legacy = { model: MODEL, prompt: 'Once upon a time', max_tokens: 8, temperature: 0,
        logit_bias: endless() };
    const whole = await client.completions.create({ ...legacy, echo: true });
    assert.ok(whole.choices[0].text.startsWith('Once upon a time'));
    let text = '';
    for await (const chunk of await client.completions.create({ ...legacy, stream: true }))
        text += chunk.choices[0].text;
    assert.equal('Once upon a time' + text, whole.choices[0].text);
});
