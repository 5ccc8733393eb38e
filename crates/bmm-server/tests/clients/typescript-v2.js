// TypeScript SDK v2, asked to negotiate, so that it speaks the stateless revision with a server that can.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { walk } from './session.js';

await walk({
  name: 'typescript-v2',
  Client,
  StreamableHTTPClientTransport,
  UnauthorizedError,
  clientOptions: { versionNegotiation: { mode: 'auto' } },
  // The whole query, so that the client checks the issuer parameter (RFC 9207) by itself.
  finishAuth: (transport, parameters) => transport.finishAuth(parameters),
});
