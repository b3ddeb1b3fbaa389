// What came over the sync stream: bytes after decompression, and, where the lines are JSON, lines by kind; by bucket ops, bytes
// of the lines that brought them, and how often it came from its first op on. `repeated` counts buckets told again as they were.
export const received = { requests: 0, bytes: 0, statuses: {}, lines: {}, ops: {}, op_bytes: {}, starts: {}, repeated: 0 };
const told = new Map();

export function counted(accept) {
  return async (resource, init) => {
    if (!String(resource).endsWith('/sync/stream')) return fetch(resource, init);
    received.requests++;
    const headers = accept ? { ...init.headers, accept } : init.headers;
    const answer = await fetch(resource, { ...init, headers });
    received.statuses[answer.status] = (received.statuses[answer.status] ?? 0) + 1;
    if (!answer.body) return answer;
    const json = (answer.headers.get('content-type') ?? '').includes('json');
    return new Response(answer.body.pipeThrough(counter(json ? lines() : () => {})), answer);
  };
}

function counter(take) {
  return new TransformStream({
    transform(chunk, controller) {
      received.bytes += chunk.byteLength;
      take(chunk);
      controller.enqueue(chunk);
    }
  });
}

function lines() {
  const decoder = new TextDecoder();
  let rest = '';
  return (chunk) => {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop();
    for (const line of parts) if (line) count(JSON.parse(line), Buffer.byteLength(line) + 1);
  };
}

function count(line, bytes) {
  const kind = Object.keys(line)[0];
  add(received.lines, kind, 1);
  if (kind == 'checkpoint') told.clear();
  const { buckets = [], updated_buckets = buckets } = line[kind];
  if (kind.startsWith('checkpoint')) for (const one of updated_buckets) tell(one);
  if (kind != 'data') return;
  const { bucket, after, data } = line.data;
  add(received.ops, bucket, data.length);
  add(received.op_bytes, bucket, bytes);
  if (after == '0') add(received.starts, bucket, 1);
}

function tell(bucket) {
  const text = JSON.stringify(bucket);
  if (told.get(bucket.bucket) == text) received.repeated++;
  told.set(bucket.bucket, text);
}

function add(counts, name, number) {
  counts[name] = (counts[name] ?? 0) + number;
}
