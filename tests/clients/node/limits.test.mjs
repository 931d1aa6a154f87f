// Rate limits and budgets through the official Node package: scenario 18 of the conformance list.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { API_KEY, MODEL, OpenAI, Server } from './server.mjs';

const body = (tokens = 1) =>
    ({ model: MODEL, messages: [{ role: 'user', content: 'Hi' }], max_completion_tokens: tokens });
/** The status of a plain request. */
async function post(server) {
    const reply = await fetch(`${server.url}/v1/chat/completions`, {
        method: 'POST', body: JSON.stringify(body()),
        headers: { Authorization: `Bearer ${API_KEY}`, 'Content-Type': 'application/json' },
    });
    await reply.arrayBuffer();
    return reply.status;
}

/** Runs fn with a server of these arguments. */
async function limited(args, fn) {
    const server = await new Server(args).start();
    try {
        await fn(server);
    } finally {
        await server.stop();
    }
}

/** A client that counts what it sends; `before` runs ahead of each. */
function counting(server, before = async () => {}) {
    const sent = [];
    const client = server.client({
        maxRetries: 2,
        fetch: async (url, init) => {
            sent.push(new Headers(init.headers).get('x-stainless-retry-count'));
            await before(sent.length);
            return fetch(url, init);
        },
    });
    return { client, sent };
}

test('s18 the SDK retries twice and succeeds', async () => {
    await limited(['--rate-limit', 'requests_per_minute=120'], async (server) => {
        const drain = async (n) => { // somebody else is quicker
            for (let tries = 0; n <= 2 && tries < 1000; tries++)
                if (await post(server) === 429) return;
        };
        const { client, sent } = counting(server, drain);
        const { data, response } = await client.chat.completions.create(body()).withResponse();
        assert.equal(data.usage.completion_tokens, 1);
        assert.deepEqual(sent, ['0', '1', '2']);
        assert.equal(response.headers.get('x-ratelimit-limit-requests'), '120');
        assert.match(response.headers.get('x-ratelimit-reset-requests'), /^(\d+m)?[0-9.]+(ms|s)$/);
    });
});

test('s18 what can never be admitted is not retried', async () => {
    await limited(['--rate-limit', 'tokens_per_minute=500'], async (server) => {
        const { client, sent } = counting(server);
        await assert.rejects(client.chat.completions.create(body(501)), (error) => {
            assert.ok(error instanceof OpenAI.RateLimitError);
            assert.equal(error.type, 'tokens');
            assert.equal(error.code, 'rate_limit_exceeded');
            assert.match(error.message, /Request too large for cairn-tiny/);
            return true;
        });
        assert.deepEqual(sent, ['0']);
    });
});

test('s18 a spent budget is not retried', async () => {
    const args = ['--rate-limit', 'budget=0.001', '--price', 'input=1000 output=1000'];
    await limited(args, async (server) => {
        const { client, sent } = counting(server);
        await client.chat.completions.create(body());
        await assert.rejects(client.chat.completions.create(body()), (error) => {
            assert.equal(error.code, 'insufficient_quota');
            assert.equal(error.headers.get('x-ratelimit-limit-requests'), null);
            return true;
        });
        assert.deepEqual(sent, ['0', '0']);
    });
});
