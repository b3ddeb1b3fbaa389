// What the page shows: a user's lists, the todos of one of them, and what came over the stream.
import { Buckets, follow } from './sync.js';

const USERS = 50;
const SHOWN = 12; // checkpoints
const PATIENCE = 5000; // ms that a write may take to come back

const at = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get('user') ?? '2';
const buckets = new Buckets();
const items = new Map(); // todo → its element
const wanted = new Map(); // todo → whether it is to be done, until that comes back
const sums = { checkpoints: 0, bytes: 0 };
let selected;
let came = { bytes: 0, rows: 0, replaced: [] };

function element(name, text, ...inside) {
  const made = document.createElement(name);
  made.append(...(text == null ? [] : [text]), ...inside);
  return made;
}

function of(table) {
  return buckets.rows.filter((one) => one.table == table).map((one) => one.row);
}

function inOrder(rows, name) {
  return rows.sort((one, other) => String(one[name]).localeCompare(other[name], undefined, { numeric: true }));
}

// -- lists --

function showLists(fresh) {
  const todos = of('todos');
  const lists = inOrder(of('lists'), 'name');
  if (!lists.some((list) => list.id == selected)) selected = lists[0]?.id;
  at('lists').replaceChildren(
    ...lists.map((list) => {
      const own = todos.filter((todo) => todo.list_id == list.id);
      const open = own.filter((todo) => !todo.done).length;
      const button = element('button', list.name, element('small', `${open} of ${own.length} open`));
      button.setAttribute('aria-current', list.id == selected);
      button.classList.toggle('fresh', fresh.has(`lists ${list.id}`));
      button.onclick = () => ((selected = list.id), show(new Set()));
      return button;
    })
  );
  at('title').textContent = lists.find((list) => list.id == selected)?.name ?? 'No list yet';
  return inOrder(todos.filter((todo) => todo.list_id == selected), 'title');
}

// -- todos --

function item(todo) {
  if (!items.has(todo.id)) {
    const box = element('input');
    box.type = 'checkbox';
    box.onchange = () => write(todo.id, box.checked);
    const label = element('label', null, box, element('span'), element('small'));
    items.set(todo.id, element('li', null, label));
  }
  const made = items.get(todo.id);
  const [box, title, notes] = made.firstChild.children;
  const done = Boolean(todo.done);
  if (wanted.get(todo.id) == done) wanted.delete(todo.id);
  box.checked = wanted.get(todo.id) ?? done;
  title.textContent = todo.title;
  notes.textContent = todo.notes ?? '';
  made.dataset.id = todo.id;
  made.classList.toggle('done', box.checked);
  made.classList.toggle('saving', wanted.has(todo.id));
  return made;
}

function show(fresh) {
  const todos = showLists(fresh);
  at('todos').replaceChildren(...todos.map(item));
  for (const todo of todos) if (fresh.has(`todos ${todo.id}`)) flash(items.get(todo.id));
  const kept = new Set(of('todos').map((todo) => todo.id));
  for (const id of items.keys()) if (!kept.has(id)) items.delete(id);
}

function flash(one) {
  one.classList.remove('fresh');
  void one.offsetWidth; // so that the animation begins anew
  one.classList.add('fresh');
}

// It goes to the app's backend, and is shown as written once it comes back over the stream.
async function write(id, done) {
  wanted.set(id, done);
  show(new Set());
  const batch = [{ op: 'PATCH', type: 'todos', id, data: { done: Number(done) } }];
  const headers = { 'content-type': 'application/json' };
  try {
    const answer = await fetch('upload', { method: 'POST', headers, body: JSON.stringify({ batch }) });
    if (!answer.ok) throw new Error((await answer.json()).error);
    setTimeout(() => forget(id), PATIENCE); // somebody else may have changed it back at once
  } catch (error) {
    forget(id);
    tell(`not written: ${error.message}`);
  }
}

function forget(id) {
  if (wanted.delete(id)) show(new Set());
}

// -- what came --

function tell(...said) {
  at('checkpoints').prepend(element('li', `${new Date().toLocaleTimeString()} `, ...said));
  while (at('checkpoints').children.length > SHOWN) at('checkpoints').lastChild.remove();
}

function definitions(names) {
  return [...new Set(names.map((name) => name.replace(/^\d+#/, '').replace(/[\[|].*$/, '')))].join(', ');
}

function onLine({ line, bytes, change }) {
  sums.bytes += bytes;
  came.bytes += bytes;
  came.rows += line.data?.data.length ?? 0;
  came.replaced.push(...(line.checkpoint_diff?.removed_buckets ?? []));
  if (!change) return;
  sums.checkpoints++;
  const fresh = new Set(sums.checkpoints > 1 ? change.changed.map((one) => `${one.table} ${one.id}`) : []);
  const replaced = came.replaced.length ? [' ', element('b', `${count(came.replaced, 'bucket')} replaced: ${definitions(came.replaced)}`)] : [];
  tell(`${count(came.rows, 'row')}, ${size(came.bytes)}`, ...replaced);
  const held = `${count(buckets.rows, 'row')} in ${count(buckets.names, 'bucket')}`;
  at('sums').textContent = `${held}; ${size(sums.bytes)} in ${count(sums.checkpoints, 'checkpoint')}`;
  came = { bytes: 0, rows: 0, replaced: [] };
  show(fresh);
}

function count(things, name) {
  const number = things.length ?? things;
  return `${number} ${name}${number == 1 ? '' : 's'}`;
}

function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} KB`;
}

function onState(state, why) {
  at('state').dataset.state = state;
  at('state').textContent = why ? `${state}: ${why}` : state;
}

async function session() {
  const answer = await fetch(`session?user=${encodeURIComponent(user)}`);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer.json();
}

at('user').append(...Array.from({ length: USERS }, (_, n) => new Option(n + 1, n + 1, false, n + 1 == user)));
at('user').onchange = () => location.assign(`?user=${at('user').value}`);
follow({ session, buckets, signal: new AbortController().signal, onState, onLine });
