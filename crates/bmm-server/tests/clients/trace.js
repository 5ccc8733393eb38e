// Notes every request that Node's fetch (and the undici package) makes, as "METHOD path status". Imported by a driver it fills
// `exchanges`; preloaded into a program (`node --import`) it appends the lines to the file that TRACE_FILE names.
import { appendFileSync } from 'node:fs';
import { subscribe } from 'node:diagnostics_channel';

export const exchanges = [];

subscribe('undici:request:headers', ({ request, response }) => {
  const path = request.path.split('?')[0];
  const line = `${request.method} ${path} ${response.statusCode}`;
  exchanges.push(line);
  if (process.env.TRACE_FILE) appendFileSync(process.env.TRACE_FILE, `${line}\n`);
});
