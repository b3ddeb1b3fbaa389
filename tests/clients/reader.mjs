// Drives the page's reader: `node reader.mjs` reads recorded lines, `node reader.mjs URL TOKEN` follows a node.
// After each line that changes something it prints {"rows": [[table, id, row]…], "changed": […], "removed": […]}.
import fs from 'node:fs';
import readline from 'node:readline';
import { Buckets, follow, lines } from '../../examples/todo/page/sync.js';

const [endpoint, token] = process.argv.slice(2);
const buckets = new Buckets();
const received = {};
const say = (told) => process.stdout.write(JSON.stringify(told) + '\n');
const names = (rows) => rows.map(({ table, id }) => `${table} ${id}`);

function told({ line, change }) {
  const { bucket, data } = line.data ?? {};
  if (bucket) received[bucket] = (received[bucket] ?? 0) + data.length;
  if (!change) return;
  const rows = buckets.rows.map(({ table, id, row }) => [table, id, row]);
  say({ rows, changed: names(change.changed), removed: names(change.removed), positions: buckets.positions, received });
}

if (endpoint) {
  const ended = new AbortController();
  readline.createInterface({ input: process.stdin }).on('close', () => ended.abort());
  const onState = (state, why) => say({ state, why });
  const session = async () => ({ endpoint, token });
  await follow({ session, buckets, signal: ended.signal, pause: 50, onState, onLine: told });
} else {
  const bytes = [...fs.readFileSync(0)].map((byte) => Uint8Array.of(byte)); // cut everywhere, also inside a character
  const body = ReadableStream.from(bytes);
  try {
    for await (const text of lines(body)) {
      const line = JSON.parse(text);
      told({ line, change: buckets.take(line) });
    }
  } catch (error) {
    say({ error: error.message, positions: buckets.positions });
  }
}
