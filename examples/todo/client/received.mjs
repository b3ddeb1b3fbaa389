// What came over the sync stream: bytes after decompression, and, where the lines are JSON, lines by kind and ops by bucket.
export const received = { requests: 0, bytes: 0, statuses: {}, lines: {}, ops: {} };

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
    for (const line of parts) if (line) count(JSON.parse(line));
  };
}

function count(line) {
  const kind = Object.keys(line)[0];
  received.lines[kind] = (received.lines[kind] ?? 0) + 1;
  if (kind == 'data') received.ops[line.data.bucket] = (received.ops[line.data.bucket] ?? 0) + line.data.data.length;
}
