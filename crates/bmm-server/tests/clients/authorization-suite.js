// The authorization-server suite of the conformance package. Its second scenario prints an authorize URL and waits for a person;
// here the browser is that person.
//
// Usage: node authorization-suite.js ISSUER RESOURCE SIGN_IN_URL. What the suite prints goes to standard output, its exit code is ours.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Browser } from './browser.js';

const [issuer, resource, signInUrl] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const suite = path.join(here, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');

const port = await freePort();
const clientId = await register(`http://127.0.0.1:${port}/callback`);
const run = spawn(
  process.execPath,
  [suite, 'authorization', '--url', issuer, '--client-id', clientId, '--resource', resource, '--port', String(port)],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);

let printed = '';
let opened;
run.stdout.on('data', (chunk) => {
  process.stdout.write(chunk);
  printed += chunk;
  const link = /(https?:\S+[?&]code_challenge=\S+)\s/.exec(printed)?.[1];
  if (link && !opened) {
    opened = open(link).catch((error) => {
      console.error(error);
      run.kill();
    });
  }
});
run.on('exit', (code) => { process.exitCode = code ?? 1; });

async function open(link) {
  const browser = new Browser();
  await browser.signIn(signInUrl);
  await browser.deliver(await browser.authorize(link));
}

/** Registers a public client (RFC 7591): the suite itself takes a client as given. */
async function register(redirectUri) {
  const metadata = await (await fetch(new URL('/.well-known/oauth-authorization-server', issuer))).json();
  const answer = await fetch(metadata.registration_endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: 'MCP conformance suite',
      redirect_uris: [redirectUri],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    }),
  });
  if (answer.status !== 201) throw new Error(`registration answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()).client_id;
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
