// Batches through the official SDK: scenarios 80 and 81 of the conformance list.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API_KEY, MODEL, OpenAI, Server } from './server.mjs';

const CHAT = '/v1/chat/completions';
const OVER = ['completed', 'failed', 'cancelled', 'expired'];
const server = new Server();
let client;

before(async () => {
    await server.start();
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: API_KEY });
});
after(() => server.stop());

const line = (number, more = {}) => ({
    custom_id: `c${number}`, method: 'POST', url: CHAT,
    body: { model: MODEL, messages: [{ role: 'user', content: `Say ${number}` }], max_completion_tokens: 4, ...more },
});

async function begin(lines, more = {}) {
    const text = lines.map((l) => (typeof l === 'string' ? l : JSON.stringify(l))).join('\n');
    const file = await client.files.create({ file: new File([text], 'in.jsonl'), purpose: 'batch' });
    return client.batches.create({ input_file_id: file.id, endpoint: CHAT, completion_window: '24h', ...more });
}

async function follow(batch) {
    for (const deadline = Date.now() + 120_000; Date.now() < deadline;) {
        const now = await client.batches.retrieve(batch.id);
        if (OVER.includes(now.status)) return now;
        await sleep(20);
    }
    throw new Error(`${batch.id} does not end`);
}

async function content(id) {
    const text = await (await client.files.content(id)).text();
    return text.trimEnd().split('\n').map((l) => JSON.parse(l));
}

test('s80: mixed success and failure', async () => {
    const made = await begin([line(0), line(1), line(2, { messages: [{ role: 'user', content: 'word '.repeat(20000) }] })],
        { metadata: { kind: 'mixed' } });
    assert.equal(made.status, 'validating');
    assert.deepEqual(made.metadata, { kind: 'mixed' });
    const batch = await follow(made);
    assert.equal(batch.status, 'completed');
    assert.deepEqual(batch.request_counts, { total: 3, completed: 2, failed: 1 });
    const good = await content(batch.output_file_id);
    assert.deepEqual(good.map((l) => l.custom_id), ['c0', 'c1']);
    for (const l of good) assert.equal(l.response.body.object, 'chat.completion');
    const [bad] = await content(batch.error_file_id);
    assert.equal(bad.custom_id, 'c2');
    assert.equal(bad.response.status_code, 400);
    const ids = [];
    for await (const b of client.batches.list({ limit: 2 })) ids.push(b.id);
    assert.ok(ids.includes(batch.id) && new Set(ids).size === ids.length);
});

test('s81: every bad line is named', async () => {
    const batch = await follow(await begin([line(1), '{', line(1), { ...line(2), method: 'GET' }]));
    assert.equal(batch.status, 'failed');
    assert.deepEqual(batch.errors.data.map((e) => [e.line, e.code]),
        [[2, 'invalid_json_line'], [3, 'duplicate_custom_id'], [4, 'invalid_method']]);
    assert.equal(batch.output_file_id ?? null, null);
    await assert.rejects(client.batches.cancel(batch.id), /Cannot cancel a batch with status 'failed'/);
});

test('s81: cancelled with partial output', async () => {
    const made = await begin(Array.from({ length: 4000 }, (_, i) => line(i, { max_completion_tokens: 200 })));
    while ((await client.batches.retrieve(made.id)).request_counts.completed < 3) await sleep(10);
    const asked = await client.batches.cancel(made.id);
    assert.equal(asked.status, 'cancelling');
    const batch = await follow(made);
    assert.equal(batch.status, 'cancelled');
    const good = await content(batch.output_file_id), bad = await content(batch.error_file_id);
    assert.equal(good.length, batch.request_counts.completed);
    assert.equal(good.length + bad.length, 4000);
    for (const l of bad) assert.equal(l.error.code, 'batch_cancelled');
});
