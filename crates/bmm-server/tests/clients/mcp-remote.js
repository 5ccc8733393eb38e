// mcp-remote: the bridge that gives a stdio-only client a remote server. It runs as a child process, as an editor starts it; its
// stdio is driven by the v1 client, its printed link is opened by the browser, its stored access token is spoiled on disk.
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { Browser } from './browser.js';
import { report, textOf } from './session.js';

const [mcpUrl, signInUrl, tool, input] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const home = await mkdtemp(path.join(tmpdir(), 'bmm-mcp-remote-'));
const trace = path.join(home, 'trace');

const transport = new StdioClientTransport({
  command: process.execPath,
  args: ['--import', path.join(here, 'trace.js'), path.join(here, 'node_modules/mcp-remote/dist/proxy.js'), mcpUrl, '--transport', 'http-only'],
  // No DISPLAY, and a browser that does nothing: no window opens on the machine of whoever runs the tests.
  env: { HOME: home, MCP_REMOTE_CONFIG_DIR: home, TRACE_FILE: trace, BROWSER: '/bin/true', PATH: '/usr/bin:/bin' },
  stderr: 'pipe',
});

let consents = 0;
const signedIn = openPrintedLink(transport.stderr);
const client = new Client({ name: 'bmm-test-mcp-remote', version: '1.0.0' });
try {
  await Promise.all([client.connect(transport), signedIn]);
  const { tools } = await client.listTools();
  const call = { name: tool, arguments: JSON.parse(input) };
  const first = await client.callTool(call);
  const before = await tokens();
  await saveTokens({ ...before, access_token: `${before.access_token}-spoiled` });
  const second = await client.callTool(call);
  const after = await tokens();
  await client.close();
  report('mcp-remote', {
    tools: tools.map(({ name }) => name),
    result: textOf(first),
    resultAfterRefresh: textOf(second),
    accessTokenChanged: after.access_token !== before.access_token && !after.access_token.endsWith('-spoiled'),
    refreshTokenRotated: Boolean(after.refresh_token) && after.refresh_token !== before.refresh_token,
    consents,
    exchanges: (await readFile(trace, 'utf8')).trim().split('\n'),
  });
} finally {
  await client.close();
  await rm(home, { recursive: true, force: true });
}

/** Reads what the bridge says until it prints the authorize URL, opens that, and lets the redirect reach the bridge. */
function openPrintedLink(stderr) {
  let said = '';
  return new Promise((resolve, reject) => {
    stderr.on('data', (chunk) => {
      process.stderr.write(chunk);
      said += chunk;
      const link = /by visiting:\s+(http\S+)\s/.exec(said)?.[1];
      if (!link) return;
      said = '';
      consents += 1;
      open(link).then(resolve, reject);
    });
    stderr.on('end', () => reject(new Error('mcp-remote ended before it had signed in')));
  });
}

async function open(link) {
  const browser = new Browser();
  await browser.signIn(signInUrl);
  await browser.deliver(await browser.authorize(link));
}

async function tokensFile() {
  const folder = path.join(home, 'mcp-remote-v1');
  const name = (await readdir(folder)).find((name) => name.endsWith('_tokens.json'));
  return path.join(folder, name);
}

async function tokens() {
  return JSON.parse(await readFile(await tokensFile(), 'utf8'));
}

async function saveTokens(tokens) {
  await writeFile(await tokensFile(), JSON.stringify(tokens));
}
