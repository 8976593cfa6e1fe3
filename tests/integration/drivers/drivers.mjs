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

// postgres.js writes to a socket that has been closed under it (porsager/postgres#1154), out of every
// caller's reach, and its connection never writes again: who uses it then has to begin anew.
let crashed, crash;
function untilCrash() {
  crashed = new Promise((_, reject) => { crash = reject; });
  crashed.catch(() => {});
}

async function postgresJs(way, client) {
  const { default: postgres } = await import('postgres');
  const more = way === 'pooled' ? { options } : {};
  const connect = () => postgres({ host, port: ports[way], user, database, password, max: 1,
                                   connection: more });
  const turn = async (sql, n) => {
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
  };
  let sql = connect();
  for (let n = 1; ; ++n) {
    const doomed = crashed;
    try {
      await Promise.race([turn(sql, n), doomed]);
    } catch (error) {
      failed(way, error);
    }
    if (doomed !== crashed) sql = connect();
    await pause();
  }
}

clear();
untilCrash();
process.on('uncaughtException', (error) => {
  if (driver !== 'postgres.js' || !error.stack.includes('nextWrite')) {
    console.error(error);
    process.exit(1);
  }
  crash(Object.assign(new Error('connection closed under the driver'), { code: 'crash' }));
  untilCrash();
});
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
