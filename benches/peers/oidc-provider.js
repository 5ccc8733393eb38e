// The token endpoint of oidc-provider, doing what ours does in `token_endpoint`: client credentials, a secret in the form, an
// ES256 JWT for one resource, everything in memory. Prints its port, and ends with its standard input.
// argv: the folder of node modules, client id, client secret, resource.

import { generateKeyPairSync } from 'node:crypto'
import http from 'node:http'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [modules, clientId, clientSecret, resource] = process.argv.slice(2)
const { default: Provider } = await import(pathToFileURL(path.join(modules, 'oidc-provider/lib/index.js')))
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
const server = http.createServer()
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address()
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
      id_token_signed_response_alg: 'ES256',
    }],
    jwks: { keys: [{ ...key, alg: 'ES256', use: 'sig' }] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'mcp:read',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 3600,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  })
  server.on('request', provider.callback())
  console.log(port)
})
process.stdin.resume().on('end', () => process.exit())
