// Agent frameworks, unmodified: Vercel's AI SDK, LangChain and OpenAI's agents-js, over both APIs where they
// have a choice. Scenarios 44, 46 and 47 of the conformance list. They bring their own openai package, so one
// run is enough.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { API_KEY, MODEL, OpenAI, Server, load } from './server.mjs';

const skip = process.env.OPENAI_PACKAGE === 'openai6' ? 'once is enough' : false;
const options = { skip, timeout: 60_000 };

const server = new Server();
let z, ai, langchain, agents, provider;
before(async () => {
    if (skip) return;
    await server.start();
    ({ z } = await load('zod'));
    ai = await load('ai');
    const { createOpenAI } = await load('@ai-sdk/openai');
    provider = createOpenAI({ baseURL: `${server.url}/v1`, apiKey: API_KEY });
    langchain = { ...(await load('@langchain/openai')), ...(await load('@langchain/core/tools')),
        ...(await load('@langchain/core/messages')) };
    agents = await load('@openai/agents');
});
after(() => skip || server.stop());

const weather = () => z.object({ city: z.enum(['Paris', 'Rome', 'Oslo']), unit: z.enum(['c', 'f']) });
const answer = () => z.object({ verdict: z.enum(['yes', 'no']), sure: z.boolean() });
const ASK = 'What is the weather like in Paris?';

// ---- Vercel AI SDK ----

for (const api of ['responses', 'chat']) {
    const model = () => provider[api](MODEL);
    const tools = (seen) => ({
        get_weather: ai.tool({ description: 'The weather.', inputSchema: weather(),
            execute: async (input) => { seen.push(input); return { sky: 'clear' }; } }),
    });
    const common = { temperature: 0, maxRetries: 0, maxOutputTokens: 200 };

    test(`s46, s47 AI SDK, ${api}: text, whole and streamed`, options, async () => {
        const made = await ai.generateText({ model: model(), prompt: 'Hello!', ...common });
        assert.ok(made.text.length > 0);
        assert.ok(made.usage.inputTokens > 0 && made.usage.outputTokens > 0);
        const streamed = ai.streamText({ model: model(), prompt: 'Hello!', ...common });
        let text = '';
        for await (const piece of streamed.textStream) text += piece;
        assert.equal(text, made.text);
        assert.equal(await streamed.finishReason, made.finishReason);
    });

    test(`s46, s47 AI SDK, ${api}: a tool loop`, options, async () => {
        const seen = [];
        const made = await ai.generateText({ model: model(), prompt: ASK, tools: tools(seen), ...common,
            stopWhen: ai.stepCountIs(2),
            prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }) });
        assert.equal(made.steps.length, 2);
        assert.equal(made.steps[0].finishReason, 'tool-calls');
        assert.ok(seen.length >= 1);
        weather().parse(seen[0]);
        assert.equal(made.steps[0].toolResults[0].output.sky, 'clear');
    });

    test(`s46, s47 AI SDK, ${api}: a streamed tool loop`, options, async () => {
        const seen = [], kinds = new Set();
        const streamed = ai.streamText({ model: model(), prompt: ASK, tools: tools(seen), ...common,
            toolChoice: { type: 'tool', toolName: 'get_weather' }, stopWhen: ai.stepCountIs(1) });
        for await (const part of streamed.fullStream) {
            if (part.type === 'error') throw part.error;
            kinds.add(part.type);
        }
        for (const kind of ['tool-input-start', 'tool-input-delta', 'tool-call', 'tool-result'])
            assert.ok(kinds.has(kind), `no ${kind} among ${[...kinds]}`);
        assert.equal(await streamed.finishReason, 'tool-calls');
        weather().parse(seen[0]);
    });

    test(`s46, s47 AI SDK, ${api}: an object`, options, async () => {
        const made = await ai.generateObject({ model: model(), prompt: 'Is it true?', schema: answer(), ...common });
        answer().parse(made.object);
        const streamed = ai.streamObject({ model: model(), prompt: 'Is it true?', schema: answer(), ...common });
        let last;
        for await (const partial of streamed.partialObjectStream) last = partial;
        assert.deepEqual(last, made.object);
    });
}

// ---- LangChain ----

for (const useResponsesApi of [false, true]) {
    const name = useResponsesApi ? 'responses' : 'chat';
    const chat = () => new langchain.ChatOpenAI({ model: MODEL, apiKey: API_KEY, temperature: 0, maxTokens: 200,
        maxRetries: 0, useResponsesApi, configuration: { baseURL: `${server.url}/v1` } });
    const getWeather = () => langchain.tool(async ({ city }) => `clear in ${city}`,
        { name: 'get_weather', description: 'The weather.', schema: weather() });

    test(`s47 LangChain, ${name}: a tool loop`, options, async () => {
        const tool = getWeather();
        const calling = chat().bindTools([tool], { tool_choice: 'get_weather', parallel_tool_calls: false });
        const asked = new langchain.HumanMessage(ASK);
        const made = await calling.invoke([asked]);
        assert.equal(made.tool_calls.length, 1);
        weather().parse(made.tool_calls[0].args);
        const result = await tool.invoke(made.tool_calls[0]);
        const final = await chat().bindTools([tool], { tool_choice: 'none' }).invoke([asked, made, result]);
        assert.ok(final.text.length >= 0 && !final.tool_calls.length);
    });

    test(`s47 LangChain, ${name}: a streamed call`, options, async () => {
        // By name: LangChain drops `required` on its way to Responses.
        const calling = chat().bindTools([getWeather()], { tool_choice: 'get_weather', parallel_tool_calls: false });
        let gathered;
        for await (const chunk of await calling.stream(ASK)) gathered = gathered ? gathered.concat(chunk) : chunk;
        assert.equal(gathered.tool_calls[0].name, 'get_weather');
        weather().parse(gathered.tool_calls[0].args);
    });

    test(`s47 LangChain, ${name}: structured output`, options, async () => {
        const made = await chat().withStructuredOutput(answer(), { method: 'jsonSchema', name: 'answer' }).invoke('Is it true?');
        answer().parse(made);
    });
}

// ---- agents-js ----

for (const api of ['responses', 'chat_completions']) {
    const runner = () => {
        agents.setTracingDisabled(true);
        const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: API_KEY, maxRetries: 0 });
        return new agents.Runner({ tracingDisabled: true, modelProvider: new agents.OpenAIProvider(
            { openAIClient: client, useResponses: api === 'responses' }) });
    };
    const settings = { temperature: 0, maxTokens: 200, toolChoice: 'required', parallelToolCalls: false };

    test(`s44 agents-js, ${api}: tool, then answer`, options, async () => {
        const seen = [];
        const agent = new agents.Agent({ name: 'Helper', model: MODEL, instructions: 'Help.', modelSettings: settings,
            tools: [agents.tool({ name: 'get_weather', description: 'The weather.', parameters: weather(),
                execute: async (input) => { seen.push(input); return 'clear'; } })],
            toolUseBehavior: 'stop_on_first_tool' });
        const made = await runner().run(agent, ASK, { maxTurns: 3 });
        weather().parse(seen[0]);
        assert.equal(made.finalOutput, 'clear');
        const streamed = await runner().run(agent, ASK, { maxTurns: 3, stream: true });
        const names = [];
        for await (const event of streamed) if (event.type === 'run_item_stream_event') names.push(event.name);
        await streamed.completed;
        assert.ok(names.includes('tool_called') && names.includes('tool_output'), String(names));
        assert.equal(streamed.finalOutput, 'clear');
    });

    test(`s44 agents-js, ${api}: handoff, then an object`, options, async () => {
        const expert = new agents.Agent({ name: 'Expert', model: MODEL, instructions: 'Judge.', outputType: answer(),
            modelSettings: { temperature: 0, maxTokens: 200 } });
        const triage = agents.Agent.create({ name: 'Triage', model: MODEL, instructions: 'Hand over.',
            modelSettings: settings, handoffs: [expert] });
        const made = await runner().run(triage, 'Is it true?', { maxTurns: 4 });
        assert.equal(made.lastAgent.name, 'Expert');
        answer().parse(made.finalOutput);
    });
}
