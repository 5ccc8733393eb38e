// TypeScript SDK v1: the client that most programs in the field still carry.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { walk } from './session.js';

await walk({
  name: 'typescript-v1',
  Client,
  StreamableHTTPClientTransport,
  UnauthorizedError,
  finishAuth: (transport, parameters) => transport.finishAuth(parameters.get('code')),
});
