// Conversations and compaction as the official SDK and agents-js's sessions use them: scenarios 52, 66 and 73 of
// the conformance list.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { API_KEY, MODEL, OpenAI, Server, load } from './server.mjs';

// Sessions that compact insist on a model with a name of OpenAI's.
const ALIAS = 'gpt-5-nano';
const server = new Server(['--alias', `${ALIAS}=${MODEL}`]);
let client, agents, memory;
before(async () => {
    await server.start();
    client = server.client();
    agents = await load('@openai/agents');
    memory = await load('@openai/agents-openai');
});
after(() => server.stop());

const say = (text, role = 'user') => ({ type: 'message', role, content: text });
const texts = (items) => items.map((item) => item.content[0].text);

async function all(page) {
    const items = [];
    for await (const item of page) items.push(item);
    return items;
}

test('s52 conversations and their items', async () => {
    const made = await client.conversations.create({ items: [say('one'), say('two', 'assistant')],
        metadata: { topic: 'demo' } });
    assert.deepEqual(await client.conversations.retrieve(made.id), made);
    const added = await client.conversations.items.create(made.id, { items: [say('three')] });
    assert.equal(added.data.length, 1);
    const listed = await all(client.conversations.items.list(made.id, { order: 'asc', limit: 2 }));
    assert.deepEqual(texts(listed), ['one', 'two', 'three']);
    const left = await client.conversations.items.delete(listed[1].id, { conversation_id: made.id });
    assert.equal(left.id, made.id);
    assert.deepEqual(texts(await all(client.conversations.items.list(made.id))), ['three', 'one']);
    const changed = await client.conversations.update(made.id, { metadata: {} });
    assert.deepEqual(changed.metadata, {});
    assert.equal((await client.conversations.delete(made.id)).deleted, true);
    await assert.rejects(client.conversations.retrieve(made.id), { status: 404 });
});

test('s52 responses go on with a conversation', async () => {
    const conversation = await client.conversations.create();
    const common = { model: MODEL, conversation: conversation.id, max_output_tokens: 32, temperature: 0 };
    const first = await client.responses.create({ ...common, input: 'Hello!' });
    assert.deepEqual(first.conversation, { id: conversation.id });
    const stream = client.responses.stream({ ...common, input: 'And again?' });
    const second = await stream.finalResponse();
    const listed = await all(client.conversations.items.list(conversation.id, { order: 'asc' }));
    assert.deepEqual(listed.map((item) => item.id).filter((id) => !texts(listed).includes(id)).length, 4);
    assert.deepEqual(listed.map((item) => item.role), ['user', 'assistant', 'user', 'assistant']);
    assert.equal(listed[1].id, first.output.at(-1).id);
    assert.equal(listed[3].id, second.output.at(-1).id);
});

test('s73 pages of items while others are added', async () => {
    const made = await client.conversations.create();
    for (let k = 0; k < 2; k++)
        await client.conversations.items.create(made.id, { items: [...Array(20).keys()].map((i) => say(`${k}-${i}`)) });
    const seen = [];
    for await (const item of client.conversations.items.list(made.id, { order: 'asc', limit: 3 })) {
        seen.push(item.id);
        if (seen.length === 10) await client.conversations.items.create(made.id, { items: [say('late')] });
    }
    assert.equal(seen.length, 41);
    assert.equal(new Set(seen).size, 41);
});

test('s66 compaction by a threshold', async () => {
    const talk = [];
    for (let i = 0; i < 12; i++)
        talk.push(say(`Question ${i}?`), say(`A long answer ${i} ${'with many words in it '.repeat(20)}`, 'assistant'));
    const stream = client.responses.stream({ model: MODEL, input: [...talk, say('Hello!')], temperature: 0,
        max_output_tokens: 32, context_management: [{ type: 'compaction', compact_threshold: 1000 }] });
    const events = [];
    for await (const event of stream) events.push(event.type);
    const made = await stream.finalResponse();
    assert.deepEqual(made.output.map((item) => item.type).slice(0, 1), ['compaction']);
    assert.deepEqual(events.slice(0, 4), ['response.created', 'response.in_progress',
        'response.output_item.added', 'response.output_item.done']);
});

// ---- agents-js ----

const runner = () => new agents.Runner({ tracingDisabled: true, modelProvider: new agents.OpenAIProvider(
    { openAIClient: server.client({ maxRetries: 0 }), useResponses: true }) });
const helper = () => new agents.Agent({ name: 'Helper', model: ALIAS, instructions: 'Help.',
    modelSettings: { temperature: 0, maxTokens: 64, truncation: 'auto' } });

test('s52 agents-js: a session in a conversation', async () => {
    const session = new memory.OpenAIConversationsSession({ client });
    await runner().run(helper(), 'Hello!', { session });
    await runner().run(helper(), 'And again?', { session });
    const id = await session.getSessionId();
    const listed = await all(client.conversations.items.list(id, { order: 'asc' }));
    assert.deepEqual(listed.filter((item) => item.type === 'message').map((item) => item.role),
        ['user', 'assistant', 'user', 'assistant']);
    assert.equal((await session.getItems(1)).length, 1);
    const last = await session.popItem();
    assert.equal(last.role, 'assistant');
    assert.equal((await session.getItems()).length, listed.length - 1);
    await session.clearSession();
    await assert.rejects(client.conversations.retrieve(id), { status: 404 });
});

for (const compactionMode of ['input', 'previous_response_id'])
    test(`s66 agents-js: a session that compacts, ${compactionMode}`, async () => {
        const decided = [];
        const session = new memory.OpenAIResponsesCompactionSession({ client, model: ALIAS, compactionMode,
            shouldTriggerCompaction: ({ compactionCandidateItems: items }) => {
                decided.push(items.length);
                return items.length >= 2;
            } });
        for (const text of ['Hello!', 'And again?', 'One more.', 'The last one.'])
            await runner().run(helper(), text, { session });
        const items = await session.getItems();
        assert.ok(decided.some((n) => n >= 2), String(decided));
        assert.ok(items.some((item) => item.type === 'compaction'), JSON.stringify(items));
        const said = items.filter((item) => item.role === 'user').map((item) =>
            typeof item.content === 'string' ? item.content : item.content[0].text);
        assert.deepEqual(said, ['Hello!', 'And again?', 'One more.', 'The last one.']);
    });
