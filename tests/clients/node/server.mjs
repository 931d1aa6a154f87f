// Starts a real Cairn for the Node suite and stops it again; the Python twin is tests/lib/cairn_server.py.
// The server runs with CAIRN_CHECK=1 and must end with exit code 0, without a contract violation.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

export const API_KEY = 'sk-proj-tests-0123456789abcdefghijklmnopqrstuvwxyzABCD';
export const ADMIN_KEY = 'sk-admin-tests-0123456789abcdefghijklmnopqrstuvwxyzABC';
export const MODEL = 'cairn-tiny';
const TEST_MODEL = process.env.CAIRN_TEST_MODEL;

/** A package of those that scripts/test.sh installs into build/node. */
export const load = (name) => import(pathToFileURL(packages.resolve(name)));
const packages = createRequire(join(ROOT, 'build/node/package.json'));

/** The OpenAI class of the package under test: `openai` (newest) or `openai6` (newest for Node 20). */
const installed = join(ROOT, 'build/node/node_modules', process.env.OPENAI_PACKAGE ?? 'openai', 'index.mjs');
export const { default: OpenAI } = await import(pathToFileURL(installed));

function freePort() {
    return new Promise((done) => {
        const probe = createServer().listen(0, '127.0.0.1', () => {
            const { port } = probe.address();
            probe.close(() => done(port));
        });
    });
}

function environment(data) {
    const env = { ...process.env };
    for (const name of Object.keys(env))
        if (/^(CAIRN_|OPENAI_|XDG_)/.test(name)) delete env[name];
    return { ...env, CAIRN_API_KEY: API_KEY, CAIRN_ADMIN_KEY: ADMIN_KEY, CAIRN_CHECK: '1', HOME: data };
}

export class Server {
    /** @param args further arguments of `cairn serve` */
    constructor(args = []) {
        this.args = args;
    }

    async start() {
        const binary = resolve(ROOT, process.env.CAIRN_BIN ?? 'build/dev/cairn');
        this.data = mkdtempSync(join(tmpdir(), 'cairn-node-'));
        this.port = await freePort();
        this.url = `http://127.0.0.1:${this.port}`;
        this.log = '';
        const model = TEST_MODEL ? ['--model', TEST_MODEL] : [];
        this.process = spawn(binary,
            ['serve', '--listen', `127.0.0.1:${this.port}`, '--data', join(this.data, 'state'), ...model,
                ...this.args],
            { env: environment(this.data), stdio: ['ignore', 'ignore', 'pipe'] });
        this.process.stderr.on('data', (data) => { this.log = (this.log + data).slice(-200_000); });
        this.ended = new Promise((done) => this.process.on('exit', (code, signal) => done(code ?? signal)));
        for (let tries = 0; tries < 3000; tries++) {
            if (this.process.exitCode !== null) throw new Error(`cairn ended at start:\n${this.log}`);
            const reply = await fetch(`${this.url}/readyz`).catch(() => null);
            if (reply?.ok) return this;
            await sleep(20);
        }
        throw new Error(`cairn was not ready:\n${this.log}`);
    }

    client(options = {}) {
        return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: API_KEY, timeout: 300_000, ...options });
    }

    async metric(name) {
        const reply = await fetch(`${this.url}/metrics`, { headers: { Authorization: `Bearer ${ADMIN_KEY}` } });
        const samples = (await reply.text()).split('\n').filter((line) => line.match(`^${name}[ {]`));
        return samples.length ? samples.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0) : null;
    }

    /** A prompt whose reply ends by itself: which ones do is the model's business. */
    async shortPrompt() {
        for (const input of ['Count to 5', 'Say this is a test', 'What is the capital of France?', 'Hello!']) {
            const made = await this.client().responses.create(
                { model: MODEL, input, temperature: 0, store: false, max_output_tokens: 200 });
            if (made.status === 'completed' && made.usage.output_tokens > 2) return input;
        }
        throw new Error('the model ends none of its replies');
    }

    async stop() {
        const violations = await this.metric('cairn_contract_violations_total');
        this.process.kill('SIGTERM');
        const code = await this.ended;
        rmSync(this.data, { recursive: true, force: true });
        assert.equal(violations, 0, this.log.split('\n').filter((l) => l.includes('violation')).join('\n'));
        assert.doesNotMatch(this.log, /ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|runtime error:/);
        assert.equal(code, 0, this.log.slice(-4000));
    }

    /** Whether this binary was built with fault points; scenarios that need them are skipped otherwise. */
    async hasFaults() {
        const reply = await fetch(`${this.url}/v1/models`,
            { headers: { Authorization: `Bearer ${API_KEY}`, 'X-Cairn-Fault': 'status=503' } });
        return reply.status === 503;
    }
}

/** A logit_bias under which the model cannot end its turn: the control tokens of the built-in model. */
export function endless() {
    const types = controlTypes(readFileSync(TEST_MODEL ?? join(ROOT, 'models/cairn-tiny.gguf')));
    const bias = {};
    types.forEach((type, id) => { if (type === 3) bias[id] = -100; });
    return bias;
}

/** tokenizer.ggml.token_type of a GGUF file. */
function controlTypes(data) {
    const sizes = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
    let at = 16;
    const u32 = () => { at += 4; return data.readUInt32LE(at - 4); };
    const u64 = () => { at += 8; return Number(data.readBigUInt64LE(at - 8)); };
    const string = () => { const size = u64(); at += size; return data.toString('utf8', at - size, at); };
    const value = (kind) => {
        if (kind === 8) return string();
        if (kind === 9) {
            const inner = u32(), count = u64();
            return Array.from({ length: count }, () => value(inner));
        }
        if (kind === 4 || kind === 5) return u32();
        at += sizes[kind];
        return null;
    };
    for (let pairs = u64(); pairs > 0; pairs--) {
        const key = string(), found = value(u32());
        if (key === 'tokenizer.ggml.token_type') return found;
    }
    return [];
}
