// Webhook endpoints and deliveries through the official Node package: scenario 106 of the conformance list. The
// operations are of openai 7; openai 6 verifies what is delivered.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { API_KEY, MODEL, OpenAI, Server } from './server.mjs';

const server = new Server(['--outbound-allow', '127.0.0.1']);
const received = [];
let client, hook, url, waiting;

before(async () => {
    await server.start();
    client = server.client();
    hook = createServer((request, reply) => {
        let body = '';
        request.setEncoding('utf8').on('data', (piece) => { body += piece; }).on('end', () => {
            received.push({ headers: request.headers, body });
            waiting?.();
            reply.writeHead(200).end();
        });
    });
    await new Promise((done) => hook.listen(0, '127.0.0.1', done));
    url = `http://127.0.0.1:${hook.address().port}/`;
});
beforeEach(() => { received.length = 0; });
after(async () => {
    hook.closeAllConnections();
    hook.close();
    await server.stop();
});

async function delivered() {
    while (!received.length) await new Promise((done) => { waiting = done; });
    return received[0];
}

async function call(method, path, body) {
    const reply = await fetch(`${server.url}/v1${path}`, { method, body: body && JSON.stringify(body),
        headers: { Authorization: `Bearer ${API_KEY}`, 'Content-Type': 'application/json' } });
    return reply.json();
}

const endpoint = (event_types) => call('POST', '/webhook_endpoints', { name: 'test', url, event_types });
const remove = (id) => call('DELETE', `/webhook_endpoints/${id}`);

test('s106 the operations', async (t) => {
    if (!client.webhooks.create) return t.skip('openai 6 has none');
    const made = await client.webhooks.create({ name: 'n', url, event_types: ['batch.completed'] });
    assert.match(made.id, /^whe_/);
    assert.match(made.signing_secret, /^whsec_/);
    const again = await client.webhooks.retrieve(made.id);
    assert.equal(again.signing_secret, undefined);
    assert.equal(again.signing_secret_hint, made.signing_secret_hint);
    assert.deepEqual((await client.webhooks.update(made.id, { name: 'm' })).name, 'm');
    const other = await client.webhooks.create({ name: 'o', url, event_types: ['batch.failed'] });
    const listed = [];
    for await (const one of client.webhooks.list({ limit: 1 })) listed.push(one.id);
    assert.deepEqual(listed, [other.id, made.id]);
    const types = (await client.webhooks.eventTypes.list()).data;
    assert.ok(types.includes('response.completed'));
    const rotated = await client.webhooks.rotateSecret(made.id, { keep_old_secret_active_for_24_hours: true });
    assert.notEqual(rotated.signing_secret, made.signing_secret);
    const tried = await client.webhooks.test(made.id, { event_type: 'batch.completed' });
    assert.equal(tried.status_code, 200);
    assert.equal(tried.success, true);
    const { body, headers } = await delivered();
    for (const secret of [made.signing_secret, rotated.signing_secret]) {
        const event = await client.webhooks.unwrap(body, headers, secret);
        assert.equal(event.type, 'batch.completed');
        assert.equal(event.id, headers['webhook-id']);
    }
    for (const id of listed) assert.equal((await client.webhooks.delete(id)).deleted, true);
    await assert.rejects(client.webhooks.retrieve(made.id), OpenAI.NotFoundError);
});

test('s106 a background response is told of, and verified', async () => {
    const made = await endpoint(['response.completed', 'response.incomplete']);
    const response = await client.responses.create({ model: MODEL, input: 'Hello!', background: true });
    const { body, headers } = await delivered();
    const event = await client.webhooks.unwrap(body, headers, made.signing_secret);
    assert.equal(event.data.id, response.id);
    assert.equal(event.type, `response.${(await client.responses.retrieve(response.id)).status}`);
    await remove(made.id);
});

test('s106 tampered and old deliveries fail', async () => {
    const made = await endpoint(['batch.failed']);
    await call('POST', `/webhook_endpoints/${made.id}/test`, { event_type: 'batch.failed' });
    const { body, headers } = await delivered();
    const verify = (text, changed = {}) =>
        client.webhooks.verifySignature(text, { ...headers, ...changed }, made.signing_secret);
    await verify(body);
    await assert.rejects(verify(body.replace('batch.failed', 'batch.expired')));
    await assert.rejects(verify(body, { 'webhook-id': 'evt_other' }));
    await assert.rejects(verify(body, { 'webhook-timestamp': String(Number(headers['webhook-timestamp']) - 301) }));
    await assert.rejects(client.webhooks.verifySignature(body, headers, 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'));
    await remove(made.id);
});
