// Reads a node's sync stream as NDJSON. What is shown is always a whole checkpoint, never a part of one.
// No DOM in here: tests run it by Node.js.

// The buckets of one client. `take` gets lines; when one completes a checkpoint it answers with what that changed.
export class Buckets {
  #buckets = new Map(); // name → {after, sum, rows, coming}: rows are shown, `coming` waits for its checkpoint
  #wanted = new Map(); // name → checksum
  #shown = new Map(); // "table id" → {table, id, row}

  // What the next request says of them.
  get positions() {
    return [...this.#buckets].map(([name, { after }]) => ({ name, after }));
  }

  get names() {
    return [...this.#wanted.keys()];
  }

  // Every row that is shown: [{table, id, row}].
  get rows() {
    return [...this.#shown.values()];
  }

  take({ checkpoint, checkpoint_diff: diff, data, checkpoint_complete: complete }) {
    if (checkpoint) {
      this.#wanted.clear();
      this.#want(checkpoint.buckets);
      for (const name of this.#buckets.keys()) if (!this.#wanted.has(name)) this.#buckets.delete(name);
    } else if (diff) {
      for (const name of diff.removed_buckets) this.#wanted.delete(name), this.#buckets.delete(name);
      this.#want(diff.updated_buckets);
    } else if (data) {
      this.#download(data);
    } else if (complete) {
      return this.#apply();
    }
  }

  #want(buckets) {
    for (const { bucket, checksum } of buckets) {
      this.#wanted.set(bucket, checksum);
      if (!this.#buckets.has(bucket)) this.#buckets.set(bucket, { after: '0', sum: 0, rows: new Map(), coming: [] });
    }
  }

  #download({ bucket: name, data, next_after }) {
    const bucket = this.#buckets.get(name);
    for (const op of data) bucket.sum = (op.op == 'CLEAR' ? op.checksum : bucket.sum + op.checksum) | 0;
    bucket.coming.push(...data);
    bucket.after = next_after;
  }

  #apply() {
    for (const [name, { sum }] of this.#buckets) {
      if (sum == (this.#wanted.get(name) | 0)) continue;
      this.#buckets.delete(name); // the next request asks for all of it
      throw new Error(`the checksum of bucket ${name} is wrong`);
    }
    const before = this.#shown;
    this.#shown = new Map();
    for (const bucket of this.#buckets.values()) {
      bucket.coming.forEach((op) => applied(bucket.rows, op));
      bucket.coming = [];
      for (const row of bucket.rows.values()) this.#shown.set(`${row.table} ${row.id}`, row);
    }
    return {
      changed: this.rows.filter((now) => before.get(`${now.table} ${now.id}`)?.text != now.text),
      removed: [...before].filter(([key]) => !this.#shown.has(key)).map(([, row]) => row)
    };
  }
}

function applied(rows, { op, object_type, object_id, subkey, data }) {
  const key = JSON.stringify([object_type, object_id, subkey]);
  if (op == 'CLEAR') rows.clear();
  if (op == 'REMOVE') rows.delete(key);
  if (op == 'PUT') rows.set(key, { table: object_type, id: object_id, row: JSON.parse(data), text: data });
}

// Stays connected until `signal` aborts. `session()` gives {endpoint, token}, anew for each connection.
export async function follow({ session, buckets, signal, pause = 1000, onState = () => {}, onLine = () => {} }) {
  while (!signal.aborted) {
    try {
      onState('connecting');
      const { endpoint, token } = await session();
      const response = await fetch(`${endpoint}/sync/stream`, {
        method: 'POST',
        headers: { authorization: `Token ${token}`, 'content-type': 'application/json', accept: 'application/x-ndjson' },
        body: JSON.stringify({ buckets: buckets.positions, raw_data: true }),
        signal
      });
      if (!response.ok) throw new Error(await refusal(response));
      onState('connected');
      for await (const text of lines(response.body)) {
        const line = JSON.parse(text);
        onLine({ line, bytes: text.length + 1, change: buckets.take(line) });
      }
      onState('away', 'the node ended the stream');
    } catch (error) {
      if (!signal.aborted) onState('away', error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  return error ? `${response.status} ${error.code}: ${error.description}` : `status ${response.status}`;
}

export async function* lines(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = '';
  try {
    for (let part; !(part = await reader.read()).done; ) {
      const parts = (rest + decoder.decode(part.value, { stream: true })).split('\n');
      rest = parts.pop();
      yield* parts.filter(Boolean);
    }
  } finally {
    reader.cancel().catch(() => {}); // or the node goes on sending to nobody
  }
}
