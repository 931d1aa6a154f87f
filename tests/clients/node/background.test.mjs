// Background responses through the official Node package: scenarios 48-51 of the conformance list.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MODEL, OpenAI, Server } from './server.mjs';

const server = new Server();
let client;

before(async () => {
    await server.start();
    client = server.client();
});
after(() => server.stop());

const RUNNING = ['queued', 'in_progress'];
const TERMINAL = ['response.completed', 'response.incomplete', 'response.failed'];
const short = { model: MODEL, input: 'Hello!', temperature: 0, background: true };

/** A request whose answer is long whatever the model would say: a list of `count` numbers. */
const numbers = (count) => ({ model: MODEL, input: `List ${count} numbers.`, background: true, temperature: 1.3,
    max_output_tokens: 1200, text: { format: { type: 'json_schema', name: 'n', schema: { type: 'object',
        properties: { a: { type: 'array', items: { type: 'integer' }, minItems: count, maxItems: count } },
        required: ['a'], additionalProperties: false } } } });

async function ended(id) {
    for (;;) {
        const found = await client.responses.retrieve(id);
        if (!RUNNING.includes(found.status)) return found;
        await sleep(10);
    }
}

async function all(stream) {
    const events = [];
    for await (const event of stream) events.push(event);
    return events;
}

/** Numbered without a gap from `first`, with one terminal event, the last. */
function checkEvents(events, first = 0) {
    events.forEach((event, place) => assert.equal(event.sequence_number, first + place));
    assert.deepEqual(events.map((event) => TERMINAL.includes(event.type)),
        events.map((_, place) => place === events.length - 1));
}

test('s49 queued, then polled to its end', async () => {
    const made = await client.responses.create(short);
    assert.equal(made.status, 'queued');
    assert.equal(made.background, true);
    assert.deepEqual(made.output, []);
    const final = await ended(made.id);
    assert.equal(final.status, 'completed');
    assert.ok(final.output_text && final.usage.total_tokens);
});

test('s49 the accumulator takes the stream of a new one, and of one that is there', async () => {
    const final = await client.responses.stream(short).finalResponse();
    assert.equal(final.status, 'completed');
    const again = await client.responses.stream({ response_id: final.id }).finalResponse();
    assert.equal(again.output_text, final.output_text);
    assert.deepEqual(again.usage, final.usage);
});

test('s49 it must be stored', async () => {
    await assert.rejects(client.responses.create({ ...short, store: false }), OpenAI.BadRequestError);
});

test('s48 a stream that was left is resumed behind the last event seen', async () => {
    const stream = await client.responses.create({ ...numbers(40), stream: true });
    const seen = [];
    for await (const event of stream) {
        seen.push(event);
        if (seen.length === 7) break;
    }
    const { id } = seen[0].response;
    const rest = await all(await client.responses.retrieve(id,
        { stream: true, starting_after: seen.at(-1).sequence_number }));
    checkEvents([...seen, ...rest]);
    const whole = await all(await client.responses.retrieve(id, { stream: true }));
    assert.deepEqual(whole, [...seen, ...rest]);
    const helped = [];
    const helper = client.responses.stream({ response_id: id, starting_after: 5 });
    helper.on('event', (event) => helped.push(event.sequence_number));
    await helper.finalResponse();
    assert.equal(helped[0], 6);
    assert.equal(helped.length, whole.length - 6);
});

test('s48 without obfuscation', async () => {
    const made = await client.responses.create(short);
    await ended(made.id);
    const padded = await all(await client.responses.retrieve(made.id, { stream: true }));
    const plain = await all(await client.responses.retrieve(made.id, { stream: true, include_obfuscation: false }));
    assert.ok(padded.some((event) => event.obfuscation));
    assert.ok(!plain.some((event) => 'obfuscation' in event));
    assert.deepEqual(padded.map(({ obfuscation, ...event }) => event), plain);
});

test('s50 cancel', async () => {
    const made = await client.responses.create(numbers(150));
    const follower = all(await client.responses.retrieve(made.id, { stream: true }));
    const cancelled = await client.responses.cancel(made.id);
    assert.equal(cancelled.status, 'cancelled');
    assert.equal(cancelled.usage ?? null, null);
    assert.equal((await client.responses.cancel(made.id)).status, 'cancelled');
    const events = await follower;
    checkEvents(events);
    assert.equal(events.at(-1).response.status, 'cancelled');
    const final = await client.responses.stream({ response_id: made.id }).finalResponse();
    assert.equal(final.status, 'cancelled');
    const sync = await client.responses.create({ model: MODEL, input: 'Hello!' });
    await assert.rejects(client.responses.cancel(sync.id), /Cannot cancel a synchronous response\./);
});

test('s51 deleted while it runs', async () => {
    const made = await client.responses.create(numbers(150));
    // Version 7 raises the error event, version 6 hands it on.
    const told = all(await client.responses.retrieve(made.id, { stream: true }))
        .then((events) => events.at(-1), (error) => error);
    await client.responses.delete(made.id);
    assert.equal((await told).code, 'response_deleted');
    await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
});
