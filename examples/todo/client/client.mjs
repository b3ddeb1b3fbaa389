// A client app: the real PowerSync SDK, in a process of its own. What it sees it prints, what it is to do it reads, as JSON lines.
//
//   node client.mjs --url http://HOST:PORT --token-file FILE --schema schema.json --db FILE
//
// Read:    {"id": 1, "query": SQL, "parameters": []}   answered with its rows; "execute" instead writes
//          {"id": 2, "subscribe": STREAM, "parameters": {}}   answered once it is synced
//          {"id": 3, "received": "all"}   answered with what came over the sync stream (received.mjs)
// Printed: opened, first_sync, status, change, answer, log, failed, ended; each with `at`, ms since 1970.
// It ends when its input does, or at SIGTERM.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { PowerSyncDatabase, Schema, SyncStreamConnectionMethod, Table, column } from '@powersync/node';
import { counted, received } from './received.mjs';

const { values: given } = parseArgs({
  options: {
    url: { type: 'string' },
    'token-file': { type: 'string' }, // read again whenever the SDK wants a token
    schema: { type: 'string' }, // {"todos": {"title": "text", "done": "integer"}}; types: text, integer, real
    db: { type: 'string' }, // kept: a second run resumes
    method: { type: 'string', default: 'http' }, // or websocket
    accept: { type: 'string' }, // instead of the SDK's own preference
    parameters: { type: 'string', default: '{}' }, // of the connection
    'no-default-streams': { type: 'boolean', default: false },
    'upload-url': { type: 'string' }, // takes {"batch": [...]}; without it local writes stay in the queue
    'checkpoint-mode': { type: 'string', default: 'legacy' }, // GET /write-checkpoint2.json; requests: POST /sync/checkpoint-request
    timeout: { type: 'string', default: '60' }, // seconds for the first sync
    retry: { type: 'string', default: '1000' } // ms between two attempts to connect
  }
});

function emit(event, fields = {}) {
  process.stdout.write(JSON.stringify({ event, at: Date.now(), ...fields }) + '\n');
}

function text(error) {
  return error == null ? null : String(error.message ?? error);
}

function schema() {
  const tables = Object.entries(JSON.parse(fs.readFileSync(given.schema, 'utf8')));
  const columns = (types) => Object.fromEntries(Object.entries(types).map(([name, type]) => [name, column[type]]));
  return new Schema(Object.fromEntries(tables.map(([name, types]) => [name, new Table(columns(types))])));
}

// Warnings and errors: the SDK retries a wrong checksum in silence, and says it only here.
const WARNING = 40;
const logger = {
  log({ level, message, error }) {
    if (error || Number(level?.value ?? level) >= WARNING) emit('log', { message, error: text(error) });
  }
};

const app = {
  async fetchCredentials() {
    return { endpoint: given.url, token: fs.readFileSync(given['token-file'], 'utf8').trim() };
  },
  async uploadData(db) {
    if (!given['upload-url']) throw new Error('there is no upload backend');
    let written;
    while ((written = await db.getNextCrudTransaction())) {
      const answer = await fetch(given['upload-url'], {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ batch: written.crud.map((entry) => entry.toJSON()) })
      });
      if (!answer.ok) throw new Error(`upload refused: ${answer.status} ${await answer.text()}`);
      await written.complete();
    }
  }
};

async function open() {
  const file = path.resolve(given.db);
  const place = { dbFilename: path.basename(file), dbLocation: path.dirname(file) };
  const db = new PowerSyncDatabase({
    schema: schema(),
    database: { ...place, implementation: { type: 'node:sqlite' }, readWorkerCount: 1 },
    logger,
    remoteOptions: { customFetch: counted(given.accept) }
  });
  await db.init();
  const { core } = await db.get('SELECT powersync_rs_version() AS core');
  emit('opened', { node: process.version, sdk: db.sdkVersion, core });
  return db;
}

function report(db, signal) {
  let before;
  const statusChanged = (status) => {
    const flow = status.dataFlowStatus ?? {};
    const seen = {
      connected: status.connected,
      synced: status.hasSynced ?? false,
      last_synced: status.lastSyncedAt ? new Date(status.lastSyncedAt).getTime() : null,
      download_error: text(status.downloadError ?? flow.downloadError),
      upload_error: text(status.uploadError ?? flow.uploadError)
    };
    if (JSON.stringify(seen) != before) emit('status', seen);
    before = JSON.stringify(seen);
  };
  db.registerListener({ statusChanged });
  const onChange = ({ changedTables }) => emit('change', { tables: changedTables });
  const tables = db.schema.tables.map((table) => table.name);
  db.onChange({ onChange, onError: (error) => emit('log', { error: text(error) }) }, { tables, throttleMs: 10, signal });
}

// A kept database still counts as synced from its last run: what counts is a sync over this connection.
async function connect(db) {
  const last = (status) => (status.lastSyncedAt ? new Date(status.lastSyncedAt).getTime() : 0);
  const before = last(db.currentStatus);
  const options = {
    connectionMethod: given.method == 'websocket' ? SyncStreamConnectionMethod.WEB_SOCKET : SyncStreamConnectionMethod.HTTP,
    params: JSON.parse(given.parameters),
    includeDefaultStreams: !given['no-default-streams'],
    retryDelayMs: Number(given.retry),
    checkpointMode: given['checkpoint-mode']
  };
  db.connect(app, options).catch((error) => emit('log', { error: text(error) }));
  const patience = AbortSignal.timeout(Number(given.timeout) * 1000);
  await db.waitForStatus((status) => status.hasSynced && last(status) > before, patience);
  if (last(db.currentStatus) <= before) throw new Error(`no first sync within ${given.timeout} s`);
}

const asks = {
  received: async () => ({ received }),
  query: async (db, sql, parameters = []) => ({ rows: await db.getAll(sql, parameters) }),
  execute: async (db, sql, parameters = []) => ({ changed: (await db.execute(sql, parameters)).rowsAffected ?? null }),
  subscribe: async (db, stream, parameters = {}) => {
    const subscription = await db.syncStream(stream, parameters).subscribe();
    await subscription.waitForFirstSync(AbortSignal.timeout(Number(given.timeout) * 1000));
    return {};
  }
};

async function answer(db, line) {
  const { id, parameters, ...rest } = JSON.parse(line);
  const [[verb, subject]] = Object.entries(rest);
  try {
    emit('answer', { id, ...(await asks[verb](db, subject, parameters)) });
  } catch (error) {
    emit('answer', { id, error: text(error) });
  }
}

const db = await open();
const abort = new AbortController();
report(db, abort.signal);
const ended = new Promise((resolve) => {
  process.on('SIGTERM', resolve);
  readline
    .createInterface({ input: process.stdin })
    .on('line', (line) => answer(db, line))
    .on('close', resolve);
});
connect(db).then(
  () => emit('first_sync', { received }),
  (error) => emit('failed', { error: text(error) })
);
await ended;
abort.abort();
await db.disconnect();
await db.close();
emit('ended', { received });
process.exit(0);
