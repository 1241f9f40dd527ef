// slonik, TypeORM and drizzle, as their users have them, against whatever server libpq's environment names; one JSON line a step.
import { createRequire } from 'node:module'
import pg from 'pg'
import { and, count, desc, eq, inArray, like, lt, sql as drizzleSql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { bigint, integer, numeric, pgSchema, text } from 'drizzle-orm/pg-core'
import { createPool, sql } from 'slonik'
import { DataSource, EntitySchema, In, Like } from 'typeorm'
import { z } from 'zod'

const locked = createRequire(import.meta.url)('./package.json').dependencies
const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env
// `prefer` is not known to them all, and neither server has a certificate.
delete process.env.PGSSLMODE
const url = `postgresql://${PGUSER}:${encodeURIComponent(PGPASSWORD)}@${PGHOST}:${PGPORT}/${PGDATABASE}`

const plain = (value) => {
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'bigint') return `${value}n`
  if (Buffer.isBuffer(value)) return `bytes ${value.toString('hex')}`
  if (Array.isArray(value)) return value.map(plain)
  if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
  return value
}
const step = (name, seen) => console.log(JSON.stringify({ step: name, ...plain(seen) }))
const client = (name, driven) => step('client', { client: name, version: locked[name === 'drizzle' ? 'drizzle-orm' : name.toLowerCase()], driven })

// A line a row: what differs is seen at once.
const rows = (name, found) => {
  step(name, { count: found.length })
  for (const row of found) step(name, { row })
}
const fails = async (name, work) => {
  try {
    step(name, { got: await work() })
  } catch (error) {
    const cause = error.cause?.code ? error.cause : error.driverError ?? error
    step(name, { error: error.constructor.name, code: cause.code, message: cause.code === '25006' ? 'read-only' : cause.message })
  }
}

const programs = {
  async slonik() {
    client('slonik', 'pool with its startup options, typed queries, transactions with savepoints and retries, streams of parameters, errors')
    const pool = await createPool(url, { statementTimeout: 20_000, idleInTransactionSessionTimeout: 20_000, captureStackTrace: false })
    const any = z.any()
    const ask = sql.type(any)
    rows('any', await pool.any(ask`select id, subject, priority from external_support.tickets where id < ${90} order by id`))
    rows('in', await pool.any(ask`select id, amount from external_support.tickets where id = any(${sql.array([1, 2, 3, 40], 'int8')}) order by id`))
    step('one', await pool.one(ask`select count(*) from external_support.customers where name like ${'A%'}`))
    step('maybe', { got: await pool.maybeOne(ask`select id from external_support.tickets where id = ${-1}`) })
    step('first', { got: await pool.oneFirst(ask`select current_setting('statement_timeout')`) })
    rows('unnest', await pool.any(ask`select * from ${sql.unnest([[1, 'a'], [2, 'b']], ['int4', 'text'])} as t(number, letter) order by 1`))
    rows('join', await pool.any(sql.type(any)`select c.id, count(t.id) as tickets from external_support.customers c
      join external_support.tickets t on t.customer_id = c.id where ${sql.join([sql.fragment`c.id < ${30}`, sql.fragment`t.id < ${400}`], sql.fragment` and `)}
      group by c.id order by c.id`))
    step('types', await pool.one(ask`select 1::int8 as eight, 1.5::numeric as exact, date '2024-02-29' as day, timestamptz '2024-02-29 12:00+00' as moment,
      interval '1 day 2 hours' as span, '{"a": 1}'::jsonb as document`))
    await pool.transaction(async (outer) => {
      step('in a transaction', await outer.one(ask`select count(*) from external_support.orders where id < ${30}`))
      await outer.transaction(async (inner) => {
        await inner.one(ask`select 1 / (${0}::int) as nothing`)
      }).catch((error) => step('savepoint', { error: error.constructor.name }))
      step('after the savepoint', await outer.one(ask`select min(id) from external_support.tickets where id > ${5}`))
    })
    await fails('not found', () => pool.one(ask`select id from external_support.tickets where id = ${-1}`))
    await fails('many', () => pool.one(ask`select id from external_support.tickets where id < ${3}`))
    await fails('hidden', () => pool.any(ask`select internal_notes from external_support.tickets`))
    await fails('nowhere', () => pool.any(ask`select * from invoices`))
    await pool.end()
  },

  async typeorm() {
    client('TypeORM', 'connecting, repositories, relations, query builder, transactions of each isolation level, streams, errors')
    const Customer = new EntitySchema({
      name: 'Customer', tableName: 'customers', schema: 'external_support',
      columns: { id: { type: 'bigint', primary: true }, name: { type: 'text' }, company: { type: 'text', nullable: true }, country: { type: 'text' } },
      relations: { tickets: { type: 'one-to-many', target: 'Ticket', inverseSide: 'customer' } },
    })
    const Ticket = new EntitySchema({
      name: 'Ticket', tableName: 'tickets', schema: 'external_support',
      columns: { id: { type: 'bigint', primary: true }, subject: { type: 'text' }, priority: { type: 'text' }, amount: { type: 'numeric', nullable: true },
        createdAt: { type: 'timestamptz', name: 'created_at' } },
      relations: { customer: { type: 'many-to-one', target: 'Customer', joinColumn: { name: 'customer_id' }, inverseSide: 'tickets' } },
    })
    const source = await new DataSource({ type: 'postgres', url, schema: 'external_support', entities: [Customer, Ticket], installExtensions: false }).initialize()
    const tickets = source.getRepository(Ticket)
    const customers = source.getRepository(Customer)
    rows('find', await tickets.find({ where: { id: In([1, 2, 3, 40]) }, order: { id: 'ASC' } }))
    step('find one', { row: await tickets.findOne({ where: { id: 7 }, relations: { customer: true } }) })
    step('find none', { row: await tickets.findOneBy({ id: -1 }) })
    step('count', { count: await customers.countBy({ name: Like('A%') }) })
    const [page, total] = await tickets.findAndCount({ where: { priority: 'high' }, order: { id: 'ASC' }, take: 25, skip: 5 })
    step('total', { total })
    rows('page', page)
    rows('eager', await customers.find({ where: { id: In([1, 2, 3, 4, 10, 11, 12]) }, relations: { tickets: true }, order: { id: 'ASC', tickets: { id: 'ASC' } } }))
    rows('builder', await tickets.createQueryBuilder('t').select('t.priority', 'priority').addSelect('count(*)', 'many').where('t.id < :most', { most: 200 })
      .groupBy('t.priority').orderBy('t.priority').getRawMany())
    rows('subquery', await customers.createQueryBuilder('c').where((builder) => `exists ${builder.subQuery().select('1').from(Ticket, 't')
      .where('t.customer_id = c.id and t.id < 50').getQuery()}`).orderBy('c.id').limit(25).getMany())
    for (const level of ['READ UNCOMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']) {
      await source.transaction(level, async (manager) => {
        step(level, { count: await manager.getRepository(Ticket).countBy({ id: In([1, 2, 3]) }), shown: (await manager.query('show transaction_isolation'))[0] })
      })
    }
    await fails('rolled back', () => source.transaction(async (manager) => {
      await manager.query('select 1')
      throw Object.assign(new Error('given up'), { code: 'none' })
    }))
    step('after', { rows: await source.query('select current_schema(), current_schema') })
    step('databases', { rows: await source.query('select * from current_schema()') })
    await fails('hidden', () => tickets.createQueryBuilder('t').select('t.internal_notes').getRawMany())
    await fails('nowhere', () => source.query('select * from invoices'))
    await fails('division', () => source.query('select 1 / (id - 1) from external_support.tickets where id = 1'))
    await source.destroy()
  },

  async drizzle() {
    client('drizzle', 'selects, joins, aggregates, relations by hand, prepared statements, transactions with access modes and savepoints, errors')
    const desk = pgSchema('external_support')
    const tickets = desk.table('tickets', { id: bigint({ mode: 'number' }).primaryKey(), subject: text(), priority: text(), amount: numeric(),
      customerId: bigint('customer_id', { mode: 'number' }), rating: integer() })
    const customers = desk.table('customers', { id: bigint({ mode: 'number' }).primaryKey(), name: text(), country: text() })
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    const db = drizzle(pool)
    rows('select', await db.select().from(tickets).where(lt(tickets.id, 60)).orderBy(tickets.id))
    rows('some columns', await db.select({ id: tickets.id, upper: drizzleSql`upper(${tickets.subject})` }).from(tickets)
      .where(and(inArray(tickets.id, [1, 2, 3, 40]), like(tickets.subject, '%'))).orderBy(desc(tickets.id)))
    rows('join', await db.select({ customer: customers.name, many: count(tickets.id) }).from(customers).innerJoin(tickets, eq(tickets.customerId, customers.id))
      .where(lt(customers.id, 25)).groupBy(customers.id, customers.name).orderBy(customers.id))
    const one = db.select().from(tickets).where(eq(tickets.id, drizzleSql.placeholder('id'))).prepare('one')
    for (const id of [1, 2, -1]) rows(`prepared ${id}`, await one.execute({ id }))
    const modes = [undefined, { accessMode: 'read only' }, { accessMode: 'read write' }, { isolationLevel: 'repeatable read', accessMode: 'read write' },
      { isolationLevel: 'serializable', accessMode: 'read only', deferrable: true }]
    for (const mode of modes.slice(1)) {
      await db.transaction(async (transaction) => {
        const shown = await transaction.execute(drizzleSql`select current_setting('transaction_read_only') as mode, current_setting('transaction_isolation') as level`)
        step('mode', { asked: mode, shown: shown.rows })
        rows('within', await transaction.select({ id: tickets.id }).from(tickets).where(lt(tickets.id, 4)).orderBy(tickets.id))
      }, mode)
    }
    await db.transaction(async (outer) => {
      await outer.transaction(async (inner) => inner.execute(drizzleSql`select 1 / 0`)).catch((error) => step('savepoint', { code: error.cause?.code ?? error.code }))
      rows('after the savepoint', await outer.select({ id: customers.id }).from(customers).where(lt(customers.id, 5)).orderBy(customers.id))
    })
    await fails('hidden', () => db.execute(drizzleSql`select internal_notes from external_support.tickets`))
    await fails('nowhere', () => db.execute(drizzleSql`select * from invoices`))
    await pool.end()
  },
}

await programs[process.argv[2]]()
