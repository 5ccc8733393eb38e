// A real OpenID provider for the tests: prints its port, and ends with its standard input.
// argv: client id, client secret, redirect URI.

import http from 'node:http'
import Provider from 'oidc-provider'

const [clientId, clientSecret, redirectUri] = process.argv.slice(2)
const server = http.createServer()
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address()
  const provider = new Provider(`http://localhost:${port}`, {
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    }],
    scopes: ['openid', 'profile', 'offline_access'],
    claims: { profile: ['name'] },
    // Its own sign-in page lets anybody in under the name that they type.
    features: { devInteractions: { enabled: true } },
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id, name: `The ${id}` }) }),
    rotateRefreshToken: true,
    ttl: { AccessToken: 600, RefreshToken: 86400 },
    cookies: { keys: ['a key for cookies of this test'] },
  })
  server.on('request', provider.callback())
  console.log(port)
})
process.stdin.resume().on('end', () => process.exit())
