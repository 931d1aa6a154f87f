// Files and uploads through the official Node package. Scenarios 71-74 and 79 of the conformance list.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { OpenAI, Server, load } from './server.mjs';

const { toFile } = await load(process.env.OPENAI_PACKAGE ?? 'openai');

const server = new Server();
let client;
before(async () => {
    await server.start();
    client = server.client();
});
after(() => server.stop());

const pattern = (size, seed = 0) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8) * 13 + seed) & 255));
const bytes = async (reply) => Buffer.from(await reply.arrayBuffer());

test('s71 content comes back byte for byte', async () => {
    const sent = pattern(700_001);
    const file = await client.files.create({ file: await toFile(sent, 'Übung 文件.bin'), purpose: 'user_data' });
    assert.equal(file.object, 'file');
    assert.equal(file.bytes, sent.length);
    assert.equal(file.filename, 'Übung 文件.bin');
    assert.equal(file.status, 'processed');
    assert.deepEqual(await client.files.retrieve(file.id), file);
    assert.equal((await client.files.waitForProcessing(file.id)).id, file.id);
    assert.deepEqual(await bytes(await client.files.content(file.id)), sent);
});

test('s71 a stream from the disk, and an expiry', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cairn-files-'));
    try {
        const sent = pattern(3_000_000, 9);
        writeFileSync(join(folder, 'a.bin'), sent);
        const file = await client.files.create({
            file: createReadStream(join(folder, 'a.bin')), purpose: 'user_data',
            expires_after: { anchor: 'created_at', seconds: 3600 },
        });
        assert.equal(file.filename, 'a.bin');
        assert.equal(file.expires_at, file.created_at + 3600);
        assert.deepEqual(await bytes(await client.files.content(file.id)), sent);
    } finally {
        rmSync(folder, { recursive: true });
    }
});

test('s71 an empty file is refused', async () => {
    await assert.rejects(client.files.create({ file: await toFile(Buffer.alloc(0), 'a'), purpose: 'user_data' }),
        (error) => error instanceof OpenAI.BadRequestError && error.param === 'file');
});

test('s72 s73 lists give every file once', async () => {
    const ids = [];
    for (let i = 0; i < 5; i++)
        ids.push((await client.files.create({ file: await toFile(Buffer.from('x'), `${i}`), purpose: 'vision' })).id);
    const seen = [];
    for await (const file of client.files.list({ purpose: 'vision', limit: 2 })) seen.push(file.id);
    assert.deepEqual(seen, ids.reverse());
    const page = await client.files.list({ purpose: 'vision', limit: 5 });
    assert.equal(page.has_more, false);
    await assert.rejects(client.files.list({ after: 'file-unknown' }), OpenAI.APIError);
});

test('s74 deletion', async () => {
    const file = await client.files.create({ file: await toFile(Buffer.from('x'), 'a'), purpose: 'user_data' });
    assert.deepEqual(await client.files.delete(file.id), { id: file.id, object: 'file', deleted: true });
    await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
});

test('s79 parts in parallel become one file', async () => {
    const sent = [0, 1, 2].map((i) => pattern(100_000 + i, i));
    const whole = Buffer.concat(sent);
    const upload = await client.uploads.create(
        { filename: 'a.jsonl', purpose: 'batch', bytes: whole.length, mime_type: 'application/jsonl' });
    assert.equal(upload.status, 'pending');
    const parts = await Promise.all(sent.map(async (data) =>
        client.uploads.parts.create(upload.id, { data: await toFile(data, 'part') })));
    const ids = parts.map((part) => part.id);
    await assert.rejects(client.uploads.complete(upload.id, { part_ids: ids, md5: '0'.repeat(32) }), OpenAI.BadRequestError);
    await assert.rejects(client.uploads.complete(upload.id, { part_ids: ids.slice(1) }), OpenAI.BadRequestError);
    const done = await client.uploads.complete(upload.id,
        { part_ids: ids, md5: createHash('md5').update(whole).digest('hex') });
    assert.equal(done.status, 'completed');
    assert.deepEqual(await bytes(await client.files.content(done.file.id)), whole);
    await assert.rejects(client.uploads.cancel(upload.id), OpenAI.BadRequestError);
});
