// The README's quick start for Node, taken out of it as it is written, answers.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { API_KEY, ROOT, Server } from './server.mjs';

const server = new Server();
before(() => server.start());
after(() => server.stop());

test('README quick start', async () => {
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
    const [, code] = readme.match(/^```js\n(.*?)^```/ms);
    const name = process.env.OPENAI_PACKAGE ?? 'openai';
    // Beside the packages, so that its import finds the one under test.
    const path = join(ROOT, 'build/node', `quick-${name}-${process.pid}.mjs`);
    writeFileSync(path, code.replace('from "openai"', `from "${name}"`));
    try {
        const { stdout } = await promisify(execFile)(process.execPath, [path],
            { env: { ...process.env, OPENAI_BASE_URL: `${server.url}/v1`, OPENAI_API_KEY: API_KEY } });
        const lines = stdout.trim().split('\n');
        assert.ok(lines.length >= 2 && lines[0].length > 0, stdout);
        assert.ok(Number(lines.at(-1)) > 8, stdout);
    } finally {
        rmSync(path, { force: true });
    }
});
