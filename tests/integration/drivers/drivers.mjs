// node-postgres and postgres.js. README.md says what it does.
import readline from 'node:readline';

const [driver, host, port, pooledPort, endpoint, user, database] = process.argv.slice(2);
const password = process.env.PGPASSWORD;
const options = `-c trunkline.endpoint=${endpoint}`;
const ports = { direct: Number(port), pooled: Number(pooledPort) };
const pause = () => new Promise((done) => setTimeout(done, 100));
let seen;

function clear() {
  seen = {};
  for (const way of Object.keys(ports)) seen[way] = { acknowledged: 0, errors: {}, wrong: [] };
}

function failed(way, error) {
  const name = `${error.code ?? error.name}: ${error.message}`.slice(0, 200);
  seen[way].errors[name] = (seen[way].errors[name] ?? 0) + 1;
}

function expect(way, got, wanted) {
  if (got !== wanted) seen[way].wrong.push(`${got} for ${wanted}`);
}

async function nodePostgres(way, client) {
  const { default: pg } = await import('pg');
  const more = way === 'pooled' ? { options } : {};
  const pool = new pg.Pool({ host, port: ports[way], user, database, password, max: 1, ...more });
  pool.on('error', () => {});  // an idle one that was lost is made anew
  const insert = 'insert into driven values ($1, $2, $3, $4)';
  for (let n = 1; ; ++n) {
    let one;
    try {
      one = await pool.connect();
      const got = await one.query({
        name: 'question', text: `select 'client ${client} ' || $1::int as answer`, values: [n],
      });
      expect(way, got.rows[0].answer, `client ${client} ${n}`);
      await one.query('begin');
      await one.query({ name: 'insert', text: insert, values: [driver, way, client, n] });
      await one.query('commit');
      seen[way].acknowledged += 1;
      one.release();
    } catch (error) {
      failed(way, error);
      one?.release(true);
    }
    await pause();
  }
}

async function postgresJs(way, client) {
  const { default: postgres } = await import('postgres');
  const more = way === 'pooled' ? { options } : {};
  const sql = postgres({ host, port: ports[way], user, database, password, max: 1,
                         connection: more });
  for (let n = 1; ; ++n) {
    try {
      const marked = `client ${client} `;
      // Pipelined: each with a Sync of its own.
      const [first, second] = await Promise.all([
        sql.unsafe(`select '${marked}' || $1::int as answer`, [n], { prepare: true }),
        sql`select ${n}::int + ${client}::int as answer`,
      ]);
      expect(way, first[0].answer, `${marked}${n}`);
      expect(way, second[0].answer, n + client);
      await sql.begin(async (tx) => {
        await tx`insert into driven values (${driver}, ${way}, ${client}, ${n})`;
      });
      seen[way].acknowledged += 1;
    } catch (error) {
      failed(way, error);
    }
    await pause();
  }
}

clear();
process.on('unhandledRejection', (error) => {
  console.error(error);
  process.exit(1);
});
const clientOf = { 'node-postgres': nodePostgres, 'postgres.js': postgresJs }[driver];
for (const way of Object.keys(ports)) for (const client of [1, 2]) clientOf(way, client);
console.log('ready');
const lines = readline.createInterface({ input: process.stdin });
lines.on('line', () => {
  console.log(JSON.stringify(seen));
  clear();
});
lines.on('close', () => process.exit(0));
