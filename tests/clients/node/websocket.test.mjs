// The WebSocket mode of /v1/responses through openai 7's ResponsesWS and agents-js's model of it: scenario 67 of the
// conformance list.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { API_KEY, MODEL, Server, load } from './server.mjs';

const skip = process.env.OPENAI_PACKAGE === 'openai6' ? 'once is enough' : false;
const options = { skip, timeout: 120_000 };
const TERMINAL = ['response.completed', 'response.incomplete', 'response.failed'];

const server = new Server();
let client, ResponsesWS;

before(async () => {
    if (skip) return;
    await server.start();
    client = server.client();
    ({ ResponsesWS } = await load('openai/resources/responses/ws'));
});
after(() => skip || server.stop());

/** Runs one response on a socket; its events. */
function turn(socket, body) {
    return new Promise((done, fail) => {
        const events = [];
        const end = (settle, value) => {
            socket.off('event', take);
            socket.off('error', broken);
            settle(value);
        };
        const broken = (error) => end(fail, error);
        const take = (event) => {
            events.push(event);
            if (TERMINAL.includes(event.type)) end(done, events);
        };
        socket.on('event', take);
        socket.on('error', broken);
        socket.send({ type: 'response.create', model: MODEL, temperature: 0, max_output_tokens: 24, ...body });
    });
}

test('s67 a turn, and another that goes on from it', options, async () => {
    const socket = new ResponsesWS(client);
    const events = await turn(socket, { input: 'Hello!', store: false });
    assert.equal(events[0].type, 'response.created');
    assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
    const first = events.at(-1).response;
    const text = events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join('');
    assert.equal(first.output.find((item) => item.type === 'message').content[0].text, text);
    const second = (await turn(socket, { input: 'Go on.', store: false, previous_response_id: first.id })).at(-1);
    assert.equal(second.response.previous_response_id, first.id);
    assert.ok(second.response.usage.input_tokens > first.usage.total_tokens);
    const tagged = await turn(socket, { input: 'Hello!', stream_id: 'lane-1' });
    assert.ok(tagged.every((event) => event.stream_id === 'lane-1'));
    socket.close();
});

test('s67 an error leaves the socket open', options, async () => {
    const socket = new ResponsesWS(client);
    await assert.rejects(turn(socket, { input: 'x', model: 'no-such-model' }), (error) => {
        assert.equal(error.error.error.code, 'model_not_found');
        assert.equal(error.error.status, 404);
        return true;
    });
    await assert.rejects(turn(socket, { input: 'x', previous_response_id: 'resp_none' }), (error) => {
        assert.equal(error.error.error.code, 'previous_response_not_found');
        return true;
    });
    assert.ok(TERMINAL.includes((await turn(socket, { input: 'Hello!' })).at(-1).type));
    socket.close();
});

test('s67 agents-js over a socket that it keeps', options, async () => {
    const agents = await load('@openai/agents');
    const provider = new agents.OpenAIProvider({ apiKey: API_KEY, baseURL: `${server.url}/v1`, useResponses: true,
        useResponsesWebSocket: true });
    const runner = new agents.Runner({ modelProvider: provider, tracingDisabled: true });
    const agent = new agents.Agent({ name: 'test', model: MODEL, instructions: 'Be brief.',
        modelSettings: { temperature: 0, maxTokens: 24 } });
    const first = await runner.run(agent, 'Hello!');
    assert.ok(first.finalOutput.length > 0);
    const second = await runner.run(agent, 'Go on.', { previousResponseId: first.lastResponseId });
    assert.ok(second.finalOutput.length > 0);
    assert.notEqual(second.lastResponseId, first.lastResponseId);
    const streamed = await runner.run(agent, 'Hello!', { stream: true });
    let text = '';
    for await (const piece of streamed.toTextStream()) text += piece;
    assert.equal(text, streamed.finalOutput);
    await provider.close?.();
});
