// node-postgres against whatever server libpq's environment names; one JSON line a step.
'use strict'
const { Client, types } = require('pg')
const Cursor = require('pg-cursor')

// Values as the server wrote them: a Date would round microseconds.
types.setTypeParser(1082, (text) => text)
types.setTypeParser(1114, (text) => text)
types.setTypeParser(1184, (text) => text)

const ENDLESS = 'select count(*) from tickets a, tickets b, tickets c where a.amount + b.amount + c.amount = 1'

const READS = {
  'every ticket column':
    'select id, subject, status::text as status, priority, customer_id, assignee, rating, amount, tags, meta, public_id, secret, created_at, updated_at' +
    ' from external_support.tickets where id <= 24 order by id',
  'every customer column': 'select * from customers where id < 30 order by id',
  'every order column': 'select * from orders where id < 24 order by id',
  'every document column': 'select * from documents where id < 14 order by id',
  'no rows': 'select id from tickets where id = -1',
  'empty and NULL': "select '' as empty, null as nothing, array[]::text[] as no_items, array['', null] as items",
  'numbers': "select 1::int2, 2::int4, 9007199254740993::int8, 1.5::float4, 'NaN'::float8, 1.10::numeric, null::numeric",
  'texts': "select 'žluťoučký kůň 🐎'::text, E'a\\tb'::varchar(9), 'ab'::char(5)",
  'moments': "select date '2024-02-29', timestamptz '2024-02-29 23:59:59.999999+05:30', interval '1 day 2 hours 3.5 seconds', timestamp '2024-01-01'",
  'documents': `select '{"a": [1, null]}'::jsonb, '[1,  2]'::json, 'null'::jsonb`,
  'arrays': `select array[1, null]::int4[], array[[1, 2], [3, 4]]::int8[], array['a,b', '"']::text[], '{}'::int4[]`,
  'bytes and booleans': "select '\\x00ff'::bytea, true, null::bool",
}

const ERRORS = {
  'a hidden column': 'select internal_notes from tickets',
  'a relation that is nowhere': 'select * from invoices',
  'syntax': 'selekt 1',
  'an unknown function': 'select no_such_function(1)',
  'division by zero': 'select 1 / (id - 1) from tickets where id = 1',
  'an update': "update tickets set priority = 'high' where id = 42",
  'a delete in a CTE': 'with gone as (delete from tickets returning id) select * from gone',
}

function plain(value) {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return `number ${value}`
  if (Buffer.isBuffer(value)) return `bytes ${value.toString('hex')}`
  if (Array.isArray(value)) return value.map(plain)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
}

// An enum has an OID of its own on PostgreSQL and travels as text through pgwicket: OIDs above the built-in ones are not compared.
const typeOf = (oid) => (oid < 16384 ? oid : 25)

function step(name, seen) {
  console.log(JSON.stringify({ step: name, ...seen }))
}

function result(answer) {
  const fields = answer.fields.map((field) => [field.name, typeOf(field.dataTypeID), field.dataTypeSize, field.dataTypeModifier, field.format])
  return { fields, rows: plain(answer.rows), tag: `${answer.command} ${answer.rowCount}` }
}

async function fails(name, query) {
  try {
    await query()
    step(name, { sqlstate: null })
  } catch (error) {
    step(name, { sqlstate: error.code, severity: error.severity })
  }
}

async function typesOut(client) {
  for (const [name, text] of Object.entries(READS)) {
    step(`${name}, simple`, result(await client.query({ text, rowMode: 'array' })))
    step(`${name}, extended`, result(await client.query({ text, queryMode: 'extended', rowMode: 'array' })))
  }
}

async function typesIn(client) {
  const values = {
    int2: 7, int4: -70000, int8: '9007199254740993', float8: 1.25, numeric: '12345678901234567890.5', text: "žluť ' \\ 🐎", 'varchar(9)': '', bool: true,
    date: '2024-02-29', timestamptz: '2024-02-29T01:02:03.000004Z', interval: '3 days', uuid: '00000000-0000-0000-0000-000000000005',
    jsonb: JSON.stringify({ a: [1, null] }), 'int4[]': [1, null, 3], 'text[]': ['', null, 'a,b', '"'], bytea: Buffer.from([0, 255, 92]),
  }
  for (const [type, value] of Object.entries(values)) {
    const text = `select $1::${type} as echo, $2::${type} as nothing, $1::${type} is null as absent`
    step(`${type} in`, result(await client.query({ text, values: [value, null], rowMode: 'array' })))
  }
}

async function where(client) {
  const cases = [
    ['id = $1', [11]], ['id = any($1)', [[1, 2, 3]]], ['status = $1 and id < 40', ['open']], ['tags @> $1 and id < 40', [['billing']]],
    ["meta->>'channel' = $1 and id < 40", ['chat']], ['amount > $1 and id < 60', ['4000.5']], ['subject like $2 and rating = $1', [5, '%Refund%']],
  ]
  for (const [condition, values] of cases) {
    const text = `select id, subject from tickets where ${condition} order by id limit 20`
    step(`where ${condition}`, result(await client.query({ text, values, rowMode: 'array' })))
  }
}

async function prepared(client) {
  for (let round = 0; round < 6; round++) {
    const one = await client.query({ name: 'one', text: 'select id, priority from tickets where id = $1', values: [round] })
    const other = await client.query({ name: 'other', text: 'select count(*) from orders where quantity > $1', values: [round] })
    step(`two prepared statements, round ${round}`, { one: plain(one.rows), other: plain(other.rows) })
  }
  const queued = [1, 2, 3, 4, 10].map((id) => client.query({ name: 'one', text: 'select id, priority from tickets where id = $1', values: [id] }))
  step('queued', { rows: plain((await Promise.all(queued)).map((answer) => answer.rows)) })
}

async function portals(client) {
  const cursor = client.query(new Cursor('select id from tickets where id > $1 order by id', [100]))
  const parts = []
  for (const size of [1, 3, 2]) parts.push(plain(await cursor.read(size)))
  await cursor.close()
  step('a portal in parts', { parts })
  step('after the portal', { rows: plain((await client.query('select 1 as one')).rows) })
}

async function errors(client) {
  for (const [name, text] of Object.entries(ERRORS)) {
    await fails(`${name}, simple`, () => client.query(text))
    await fails(`${name}, extended`, () => client.query({ text, queryMode: 'extended' }))
    await fails(`${name}, named`, () => client.query({ name, text }))
  }
  await fails('a parameter of the wrong type', () => client.query('select id from tickets where id = $1', ['x']))
  await fails('too few parameters', () => client.query('select id from tickets where id = $1 and rating = $2', [1]))
  step('still there', { rows: plain((await client.query('select count(*) from customers')).rows) })
}

async function transactions(client) {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  step('in a transaction', { rows: plain((await client.query('show transaction_isolation')).rows) })
  await client.query('SAVEPOINT a')
  await fails('an error', () => client.query('select 1/0'))
  await fails('after an error', () => client.query('select 1'))
  await client.query('ROLLBACK TO SAVEPOINT a')
  step('after the savepoint', { rows: plain((await client.query('select count(*) from documents')).rows) })
  step('commit', { tag: (await client.query('COMMIT')).command })
  await client.query('BEGIN')
  await fails('an error', () => client.query({ text: 'select internal_notes from tickets', queryMode: 'extended' }))
  step('commit of a failed transaction', { tag: (await client.query('COMMIT')).command })
}

async function canceled(client) {
  const query = new (require('pg').Query)(ENDLESS)
  const ended = new Promise((resolve) => query.on('error', (error) => resolve(error.code)).on('end', () => resolve(null)))
  client.query(query)
  setTimeout(() => new Client(client.connectionParameters).cancel(client, query), 500)
  step('canceled', { sqlstate: await ended })
  step('after the cancel', { rows: plain((await client.query('select 1 as one')).rows) })
}

async function main() {
  step('client', {
    client: 'node-postgres', version: require('pg/package.json').version,
    driven: 'types in and out, prepared statements, cursors (pg-cursor), transactions, cancel, errors',
  })
  const client = new Client({ ssl: false })
  await client.connect()
  for (const part of [typesOut, typesIn, where, prepared, portals, errors, transactions, canceled]) await part(client)
  await client.end()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
